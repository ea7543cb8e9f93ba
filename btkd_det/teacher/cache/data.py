"""What a cache has to know of the training data that it goes with."""

import copy
import json
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from ...config.named_types import is_type, type_package
from ...config.reading import innermost_dataset, type_name
from ...errors import ConfigError
from ...provenance import digest, sample_digest

# Transforms that do the same to an image each time. Those of the first line leave the pixels
# alone; whatever is in neither line, or of somebody else's, counts as augmentation.
PASSIVE = {'LoadImageFromFile', 'PackInputs', 'Collect', 'ToPIL', 'ToNumpy', 'ToTensor'}
HOSTS = ('', 'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'torchvision')
FIXED = {'Resize', 'ResizeEdge', 'CenterCrop', 'EfficientNetCenterCrop', 'Pad', 'Normalize'}


def describe_data(cfg: Config) -> dict[str, Any]:
    """What a cache's header has to say of the training data of a config.

    The data set is built, but no image is read.

    Args:
        cfg (Config): The whole config.

    Returns:
        dict: The entries of :data:`~btkd_det.teacher.cache.format.OF_DATA`.

    Raises:
        ConfigError: The data cannot be cached, see :func:`find_dataset`; or it has no labels.
    """
    inner, memory = find_dataset(cfg)
    scope = cfg.get('default_scope') or 'mmpretrain'
    with MMENGINE_DATASETS.switch_scope_and_registry(scope) as registry:
        dataset = registry.build(copy.deepcopy(inner))
    names = dataset.metainfo.get('classes')
    if not names:
        raise ConfigError(
            'train_dataloader.dataset: has no class names to know it by; valid is a data set '
            'with metainfo.classes'
        )
    kept = kept_classes(names, memory)
    # Names may occur twice, so that only classes chosen by name are looked up by it.
    chosen = (memory or {}).get('classes')
    by_name = isinstance(chosen, (list, tuple))
    order = [list(names).index(name) for name in kept] if by_name else range(len(kept))
    labels = [int(dataset.get_data_info(i)['gt_label']) for i in range(len(dataset))]
    images = sample_digest(dataset, [i for i, label in enumerate(labels) if label in order])
    labels = [order.index(label) for label in labels if label in order]
    steps = [step for step in fixed_pipeline(cfg) if not _is_of(step, PASSIVE)]
    return dict(
        describe_images(kept, labels, images, memory),
        dataset=_name(inner),
        pixels=json.dumps(steps, sort_keys=True, default=str),
    )


class ImageSet(dict):
    """Some of the entries of ``OF_DATA``, as each sample of a data set has them.

    MMEngine copies a sample's metainfo deeply in every step; this is the same object for all.
    """

    def __deepcopy__(self, memo: Any) -> 'ImageSet':
        return self


def describe_images(
    names: Sequence[str], labels: Sequence[int], images: str, memory: dict[str, Any] | None = None
) -> ImageSet:
    """What can be said of images in memory as well as of a config.

    Args:
        names (Sequence[str]): Class names in the order of the labels.
        labels (Sequence[int]): Of all images in their order.
        images (str): From :func:`btkd_det.provenance.sample_digest`.
        memory (dict, optional): Settings of an ``InMemoryImages``.

    Returns:
        ImageSet: ``count``, ``num_classes``, ``classes``, ``labels``, ``images`` and
        ``views``.
    """
    return ImageSet(
        count=len(labels),
        num_classes=len(names),
        classes=digest(list(names)),
        labels=digest(labels),
        images=images,
        views=view_settings(memory),
    )


def find_dataset(cfg: Config) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The data set of the training images, and how it lies in memory.

    Args:
        cfg (Config): The whole config.

    Returns:
        tuple[dict, dict | None]: The config of the data set itself, out of all that is wrapped
        around it, and of the ``InMemoryImages`` among the wrappers. The images' ``sample_idx``
        counts in the latter, where there is one, else in the former.

    Raises:
        ConfigError: There is no training data, or several data sets in one, whose indices
            are ambiguous.
    """
    if not cfg.get('train_dataloader'):
        raise ConfigError('CONFIG.train_dataloader: missing; without it there is nothing to cache')
    dataset, field = cfg.train_dataloader.dataset, 'train_dataloader.dataset'
    while 'dataset' in dataset or 'datasets' in dataset:
        if 'datasets' in dataset:
            raise ConfigError(
                f'{field}: {dataset.get("type")} joins data sets that count their images each by '
                'itself, so a cache cannot tell them apart; valid is one data set'
            )
        if is_type(dataset, 'btkd_det', 'InMemoryImages'):
            return dataset['dataset'], dataset
        dataset, field = dataset['dataset'], f'{field}.dataset'
    return dataset, None


def kept_classes(names: Sequence[str], memory: dict[str, Any] | None) -> list[str]:
    """The classes that an ``InMemoryImages`` keeps of those of its data set.

    Args:
        names (Sequence[str]): Of the data set.
        memory (dict | None): The config of the ``InMemoryImages``.

    Returns:
        list[str]: Class names in the order of the labels.
    """
    chosen = None if memory is None else memory.get('classes')
    if chosen is None:
        return list(names)
    return list(names[:chosen]) if isinstance(chosen, int) else list(chosen)


def view_settings(memory: dict[str, Any] | None) -> dict[str, Any] | None:
    """The fixed augmented views of an ``InMemoryImages``, or None where there are none.

    Args:
        memory (dict | None): Its config, or the settings of one that is built.

    Returns:
        dict | None: ``views``, ``view_seed``, ``crop_padding`` and ``flip``.
    """
    if memory is None or memory.get('views') is None:
        return None
    return dict(
        views=int(memory['views']),
        view_seed=int(memory.get('view_seed', 0)),
        crop_padding=int(memory.get('crop_padding', 0)),
        flip=float(memory.get('flip', 0.0)),
    )


def is_augmented(cfg: Config) -> bool:
    """Whether the images of a config's training differ from one epoch to the next.

    Args:
        cfg (Config): The whole config.

    Returns:
        bool: True also where they are one of K fixed views.
    """
    inner, memory = find_dataset(cfg)
    memory = memory or {}
    return bool(
        memory.get('crop_padding') or memory.get('flip') or _random_steps(inner.get('pipeline'))
    )


def fixed_pipeline(cfg: Config) -> list[dict[str, Any]]:
    """The transforms of the training data without augmentation.

    Where the training's own transforms hold none, they are it; else those of the validation
    or the test, which prepare an image as it is: taking a random crop out would leave images of
    different sizes.

    Args:
        cfg (Config): The whole config.

    Returns:
        list[dict]: Transforms.

    Raises:
        ConfigError: There are none.
    """
    own = find_dataset(cfg)[0].get('pipeline') or []
    if not _random_steps(own):
        return own
    for loader in ('val_dataloader', 'test_dataloader'):
        dataset = innermost_dataset((cfg.get(loader) or {}).get('dataset'))
        steps = (dataset or {}).get('pipeline')
        if steps and not _random_steps(steps):
            return steps
    raise ConfigError(
        f'train_dataloader.dataset.pipeline: {_name(_random_steps(own)[0])} changes the images at '
        'random, and there is no val_dataloader or test_dataloader that says how they look '
        'without; valid is a config with one of the two'
    )


def _name(step: Any) -> Any:
    return type_name(step).rpartition('/')[2]


def _is_of(step: Any, names: set[str]) -> bool:
    return _name(step) in names and type_package(step) in HOSTS


def _random_steps(pipeline: Any) -> list[Any]:
    return [step for step in pipeline or () if not _is_of(step, PASSIVE | FIXED)]
