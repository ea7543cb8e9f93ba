"""The data of a config: files, annotations, images, loaders and evaluators."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.registry import DATASETS, DefaultScope

from ..config.named_types import class_of, is_type
from ..errors import ConfigError
from ..teacher_cache import kept_classes
from .classes import check_label_order, label_classes
from .confined import confined
from .data_files import check_files
from .datasets import check_datasets
from .evaluators import check_evaluator
from .images import on_bad_image
from .loaders import check_loader

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_data(cfg: Config, loaders: Iterable[str] = DATALOADERS) -> dict[str, Any]:
    """Check that the data sets' files are there and that the class names are in them.

    Args:
        cfg (Config): The whole config.
        loaders (Iterable[str]): The data loaders to look at.

    Raises:
        ConfigError: A missing root, annotation file or image folder, an annotation file of a
            COCO data set that is no COCO JSON, or a class that it does not list; files of an
            archive that are not where :func:`btkd_det.datasets.check_image_files` looks for
            them; workers for images that are in memory; damaged annotations or images; options of
            a data loader that PyTorch refuses, or that leave no batch; labels that mean different
            classes in two of the files, or others than the teacher's.

    Returns:
        dict[str, Contents]: What each loader holds, as far as it is known.
    """
    scope, found = cfg.get('default_scope') or 'mmdet', {}
    classes_of = functools.partial(label_classes, scope=scope)
    for loader in loaders:
        if not cfg.get(loader):
            continue
        _check_workers(cfg[loader], loader)
        parts = list(innermost(cfg[loader].get('dataset'), f'{loader}.dataset'))
        for dataset, field in parts:
            check_files(dataset, field, scope)
        check_evaluator(cfg, loader.removesuffix('_dataloader'), parts)
        # A transform may build a part of itself when it is called.
        with DefaultScope.overwrite_default_scope(scope), confined(cfg):
            contents = check_datasets(parts, loader, scope, on_bad_image(cfg), classes_of)
        length = contents.length if _is_joined(cfg[loader].get('dataset'), scope) else None
        contents.batches = check_loader(cfg[loader], loader, scope, length)
        found[loader] = contents
    check_label_order(cfg, all_datasets(cfg, loaders), scope)
    return found


def _is_joined(dataset: Any, scope: str) -> bool:
    """Whether a data set is as long as its parts are together."""
    if not isinstance(dataset, dict):
        return False
    while 'datasets' in dataset:
        kind = class_of(dataset, DATASETS, scope)
        if not (isinstance(kind, type) and issubclass(kind, ConcatDataset) and dataset['datasets']):
            return False
        dataset = dataset['datasets'][0]
    return 'dataset' not in dataset


def _check_workers(loader: str, field: str) -> None:
    workers = loader.get('num_workers', 0)
    if workers and in_memory(loader.get('dataset')) is not None:
        raise ConfigError(
            f'{field}.num_workers: {workers}, but the images of btkd_det.InMemoryImages are in the '
            'memory of the main process; valid: num_workers=0, persistent_workers=False'
        )


def classes_of_data(cfg: Config) -> Any:
    """Class names of a config's data in the order of the labels, or None where nothing tells."""
    scope = cfg.get('default_scope') or 'mmdet'
    for loader in DATALOADERS:
        if cfg.get(loader):
            for dataset, _ in innermost(cfg[loader].get('dataset'), loader):
                names = label_classes(dataset, scope)
                return names and kept_classes(names, in_memory(cfg[loader].get('dataset')))
    return None


def innermost(dataset: Any, field: str) -> Iterator[Any]:
    """The innermost data sets of a possibly wrapped one, each with its place in the config."""
    if not isinstance(dataset, dict):
        return
    if 'dataset' in dataset:
        yield from innermost(dataset['dataset'], f'{field}.dataset')
    for i, part in enumerate(dataset.get('datasets', ())):
        yield from innermost(part, f'{field}.datasets[{i}]')
    if any(key in dataset for key in ('ann_file', 'data_root', 'data_prefix')):
        yield dataset, field


def all_datasets(cfg: Config, loaders: Any = DATALOADERS) -> list[Any]:
    """The innermost data sets of some loaders, each with its place in the config."""
    return [
        found
        for loader in loaders
        if cfg.get(loader)
        for found in innermost(cfg[loader].get('dataset'), f'{loader}.dataset')
    ]


def in_memory(dataset: Any) -> Any:
    """The ``InMemoryImages`` among wrapped data sets, or None."""
    while isinstance(dataset, dict) and 'dataset' in dataset:
        if is_type(dataset, 'btkd_det', 'InMemoryImages'):
            return dataset
        dataset = dataset['dataset']
    return None
