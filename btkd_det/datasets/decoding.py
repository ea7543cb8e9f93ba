"""A classification set, built from its config and decoded into tensors."""

from typing import Any

import torch
from mmengine.registry import DefaultScope

from ..checks import suggest
from ..errors import ConfigError
from ..registry import DATASETS
from .image_files import check_image_files


def build_classification_set(dataset: Any) -> Any:
    """The wrapped set; a type without a scope is mmpretrain's unless a default scope is set."""
    try:
        import mmpretrain  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'dataset: btkd_det.InMemoryImages needs mmpretrain, which cannot be imported: {error}'
        ) from error
    if isinstance(dataset, dict):
        check_image_files(dataset, 'dataset')
        if DefaultScope.get_current_instance() is None:
            dataset = {'_scope_': 'mmpretrain', **dataset}
        try:
            dataset = DATASETS.build(dataset)
        except (KeyError, TypeError, OSError, RuntimeError, AssertionError) as error:
            raise ConfigError(f'dataset: cannot be built: {error}') from error
    lacking = [name for name in ('metainfo', 'get_data_info') if not hasattr(dataset, name)]
    if lacking:
        raise ConfigError(
            f'dataset: {dataset!r} has no {lacking[0]}; valid: the config of a data set of '
            'mmpretrain, such as dict(type="CIFAR100", data_root=...), or such a data set'
        )
    return dataset


def check_pipeline(dataset: Any) -> None:
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if getattr(transform, '_methods_with_randomness', None):
            raise ConfigError(
                f'dataset.pipeline: {type(transform).__name__} draws at random, but each image is '
                'decoded only once; leave it out and use crop_padding and flip of '
                'btkd_det.InMemoryImages'
            )


def decode(dataset: Any, indices: Any) -> tuple:
    """Images (N, C, H, W) uint8 and labels (N,) int64 of some indices."""
    if not len(indices):
        raise ConfigError('dataset: it has no images')
    images, labels = None, torch.empty(len(indices), dtype=torch.long)
    for row, index in enumerate(indices):
        item = _packed(dataset[index])
        image, label = item['inputs'], item['data_samples'].get('gt_label')
        if label is None or label.numel() != 1:
            raise ConfigError(f'dataset: image {index} has the label {label}; valid is one label')
        if images is None:
            images = torch.empty(len(indices), *image.shape, dtype=torch.uint8)
        if image.dtype != torch.uint8 or image.shape != images.shape[1:]:
            raise ConfigError(
                f'dataset: image {index} is {tuple(image.shape)} of {image.dtype}, the first one '
                f'{tuple(images.shape[1:])}; valid are uint8 images of one size: put Resize and '
                'CenterCrop into dataset.pipeline'
            )
        images[row] = image
        labels[row] = label.item()
    return images, labels


def _packed(item: Any) -> Any:
    """The item, loaded and packed if the wrapped set's pipeline left that to us."""
    if 'inputs' in item:
        return item
    from mmpretrain.datasets.transforms import LoadImageFromFile, PackInputs

    if 'img' not in item:
        item = LoadImageFromFile()(item)
    return PackInputs()(item)


def chosen_classes(classes: Any, names: Any) -> dict[str, Any] | dict[Any, Any]:
    """Labels to names of the classes to keep, in their new order."""
    if isinstance(classes, int) and 1 <= classes <= len(names):
        return dict(enumerate(names[:classes]))
    if not isinstance(classes, (list, tuple)) or not classes:
        raise ConfigError(
            f'classes: {classes!r}; valid: names of classes, or a number from 1 to {len(names)}'
        )
    for name in classes:
        if name not in names:
            raise ConfigError(
                f'classes: {name!r} is no class of the data set{suggest(name, names)}; valid: '
                f'{", ".join(names)}'
            )
    if len(set(classes)) < len(classes):
        raise ConfigError(f'classes: {classes!r} names a class twice; valid: each once')
    return {list(names).index(name): name for name in classes}
