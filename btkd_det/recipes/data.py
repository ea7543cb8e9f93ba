"""The images of each data set: loaders, normalization, and the metric."""

import os
from typing import Any, NamedTuple

from ..errors import ConfigError

DATA = ('files', 'memory')
#: Side of the images to the number of them in a step of the test.
TEST_BATCH = {32: 250, 64: 250, 224: 64}


class Images(NamedTuple):
    """A data set as a protocol shows it to a network.

    Attributes:
        type (str): Of the registered data set.
        num_classes (int): C.
        size (int): Side of the images that the network sees, in pixels.
        folder (str): Where the files are, unless the environment or the user says otherwise.
        variable (str): The environment variable that names another folder.
        val_split (str): The split that is tested on; the others have no public labels.
        mean (tuple[float]): Of the three channels, 0 to 255.
        std (tuple[float]): Of the three channels.
        to_rgb (bool): Whether the files are read as BGR.
        padding (int | None): Of the random crop; None where the augmentation is ImageNet's,
            random parts of the image resized.
        load (bool): Whether the images are read from files one by one.
    """

    type: str
    num_classes: int
    size: int
    folder: str
    variable: str
    val_split: str
    mean: tuple
    std: tuple
    to_rgb: bool
    padding: object
    load: bool

    def folders(self) -> tuple:
        """Where the files are if the user does not say: the default, and the environment's."""
        return self.folder, os.environ.get(self.variable) or self.folder


# Means and deviations: mmpretrain's, of the training images.
CIFAR10 = Images(
    type='CIFAR10',
    num_classes=10,
    size=32,
    folder='data/cifar10',
    variable='CIFAR10_ROOT',
    val_split='test',
    mean=(125.307, 122.961, 113.8575),
    std=(51.5865, 50.847, 51.255),
    to_rgb=False,
    padding=4,
    load=False,
)
CIFAR100 = CIFAR10._replace(
    type='CIFAR100',
    num_classes=100,
    folder='data/cifar100',
    variable='CIFAR100_ROOT',
    mean=(129.304, 124.070, 112.434),
    std=(68.170, 65.392, 70.418),
)
_IMAGENET_COLORS = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
IMAGENET = Images(
    type='ImageNet',
    num_classes=1000,
    size=224,
    folder='data/imagenet',
    variable='IMAGENET_ROOT',
    val_split='val',
    to_rgb=True,
    padding=None,
    load=True,
    **_IMAGENET_COLORS,
)
TINY_IMAGENET = IMAGENET._replace(
    type='btkd_det.TinyImageNet',
    num_classes=200,
    size=64,
    folder='data/tiny-imagenet-200',
    variable='TINY_IMAGENET_ROOT',
    padding=8,
)
#: A folder of one's own, as ImageNet is shown; see :func:`btkd_det.recipes.folder.of_folder`.
FOLDER = IMAGENET._replace(type='CustomDataset', folder='data/folder', variable='FOLDER_ROOT')


def at_imagenet_size(images: Images) -> Images:
    """CIFAR's images as BTKD's authors show them to ImageNet's networks.

    Args:
        images (Images): :data:`CIFAR10` or :data:`CIFAR100`.

    Returns:
        Images: At 224 x 224 pixels, in ImageNet's colors.
    """
    return images._replace(size=224, padding=None, **_IMAGENET_COLORS)


def preprocessor(images: Any, num_classes: int) -> dict[str, Any]:
    """Config of ``data_preprocessor``."""
    return dict(
        type='mmpretrain.ClsDataPreprocessor',
        num_classes=num_classes,
        mean=list(images.mean),
        std=list(images.std),
        to_rgb=images.to_rgb,
    )


def loaders(
    images: Images,
    data_root: str,
    batch_size: int,
    data: str = 'files',
    classes: int | None = None,
    views: int | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data loaders of training and of test.

    Args:
        images (Images): The data set.
        data_root (str): Its folder.
        batch_size (int): Of training, in one process.
        data (str): ``'files'``: mmpretrain's pipeline works on the images one by one;
            ``'memory'``: ``btkd_det.InMemoryImages`` works on whole batches.
        classes (int, optional): Keep the images of so many classes alone.
        views (int, optional): Fixed augmented views of each training image.

    Returns:
        tuple[dict, dict]: Configs of ``train_dataloader`` and ``test_dataloader``.

    Raises:
        ConfigError: ``data`` is unknown, or does not go with the images or the other options.
    """
    _check(images, data, classes, views)
    # MMPretrain's data set of class folders has no splits, but a folder for each.
    split = 'data_prefix' if images.type == FOLDER.type else 'split'
    train = {'type': images.type, 'data_root': data_root, split: 'train'}
    test = {'type': images.type, 'data_root': data_root, split: images.val_split}
    if data == 'memory':
        kept = {} if classes is None else dict(classes=classes)
        drawn = dict(crop_padding=images.padding, flip=0.5)
        if views is not None:
            drawn.update(views=views)
        # On the GPU if there is one and they fit.
        kept.update(device='auto')
        train = dict(type='btkd_det.InMemoryImages', dataset=train, **drawn, **kept)
        test = dict(type='btkd_det.InMemoryImages', dataset=test, **kept)
        workers = dict(num_workers=0, persistent_workers=False)
    else:
        train['pipeline'], test['pipeline'] = _pipelines(images)
        workers = dict(num_workers=4, persistent_workers=True)
    return (
        dict(
            batch_size=batch_size,
            **workers,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=train,
        ),
        dict(
            batch_size=TEST_BATCH[images.size],
            **workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=test,
        ),
    )


def _pipelines(images: Any) -> tuple:
    """Transforms of training and test, for images one by one."""
    load = [dict(type='LoadImageFromFile')] if images.load else []
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    pack = dict(type='PackInputs')
    if images.padding is not None:
        crop = dict(type='RandomCrop', crop_size=images.size, padding=images.padding)
        return [*load, crop, flip, pack], [*load, pack]
    resize = dict(type='ResizeEdge', scale=256, edge='short')
    # Where small images are enlarged first, as BTKD's authors do, the crop is one of the large.
    enlarge = [] if images.load else [resize]
    part = dict(type='RandomResizedCrop', scale=images.size)
    center = dict(type='CenterCrop', crop_size=images.size)
    return [*load, *enlarge, part, flip, pack], [*load, resize, center, pack]


def _check(images: Any, data: Any, classes: Any, views: Any) -> None:
    if data not in DATA:
        raise ConfigError(f'data: {data!r}; valid: {", ".join(DATA)}')
    if data == 'memory' and images.padding is None:
        raise ConfigError(
            f"data: 'memory' crops and flips images of one size, but this recipe shows random "
            f"parts of {images.type}'s images, resized to {images.size} x {images.size} pixels; "
            "valid: 'files'"
        )
    for name, value in (('classes', classes), ('views', views)):
        if value is not None and data != 'memory':
            raise ConfigError(f"{name}: {value!r} needs data='memory'; valid with 'files': None")
