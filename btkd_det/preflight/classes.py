"""Which class each label of a data set means."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config.reading import type_name
from ..datasets.coco_json import category_names
from ..errors import ConfigError
from ..models.data_classes import compares_classes, listed
from .json_classes import openmmlab_classes


def dataset_class(dataset: dict[str, Any], scope: str = 'mmdet') -> type | None:
    """The class that a data set's config names.

    Args:
        dataset (dict): Its config.
        scope (str): Where a name without a scope is looked up.

    Returns:
        type | None: ``None`` where nothing is registered under the name.
    """
    from mmengine.registry import DATASETS

    cls = dataset.get('type', '')
    if isinstance(cls, str):
        scope = dataset.get('_scope_') or scope
        cls = DATASETS.get(cls if '.' in cls else f'{scope}.{cls}')
    return cls if isinstance(cls, type) else None


@functools.cache
def _coco_dataset() -> Any:
    from mmdet.datasets import CocoDataset

    return CocoDataset


def is_coco(cls: type | None) -> bool:
    """Whether a class of data sets reads annotation files in COCO's format.

    Args:
        cls (type | None): From :func:`dataset_class`.
    """
    return cls is not None and issubclass(cls, _coco_dataset())


def numbers_by_file(cls: type | None) -> bool:
    """Whether label i is the i-th category of the annotation file, whatever ``classes`` says.

    A subclass with a way of its own to load its data is not known.

    Args:
        cls (type | None): From :func:`dataset_class`.
    """
    return is_coco(cls) and cls.load_data_list is _coco_dataset().load_data_list


def stated_classes(dataset: dict[str, Any], scope: str = 'mmdet') -> list[str] | None:
    """The class names that a data set's config states, or its class's own, or its files'.

    As MMEngine does it, text names a file with one class in each line, or is one class.

    Args:
        dataset (dict): Its config.
        scope (str): Where a type without a scope is looked up.

    Returns:
        list[str] | None: In the order in which they are stated; ``None`` where nothing tells.
    """
    metainfo = dataset.get('metainfo')
    names = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    if names is None:
        names = dataset.get('classes')
    if isinstance(names, str):
        file = Path(names).expanduser()
        names = file.read_text(encoding='utf-8').splitlines() if file.is_file() else [names]
    if names is None:
        own = getattr(dataset_class(dataset, scope), 'METAINFO', None) or {}
        names = own.get('classes') or _classes_of_file(dataset) or _folder_names(dataset, scope)
    if isinstance(names, str):
        names = [names]
    return list(names) if isinstance(names, (list, tuple)) else None


def label_classes(dataset: dict[str, Any], scope: str = 'mmdet') -> list[str] | None:
    """The class that each label means.

    Args:
        dataset (dict): Its config.
        scope (str): Where a type without a scope is looked up.

    Returns:
        list[str] | None: Label i is of the i-th; ``None`` where nothing tells.
    """
    names = stated_classes(dataset, scope)
    if names is None or not numbers_by_file(dataset_class(dataset, scope)):
        return names
    path = annotation_file(dataset)
    of_file = category_names(path) if path is not None and path.suffix == '.json' else None
    if of_file is None or not set(names) <= set(of_file):
        return names
    return [name for name in of_file if name in names]


def check_label_order(cfg: Config, datasets: list[tuple[dict[str, Any], str]], scope: str) -> None:
    """Refuse data sets whose labels mean different classes, or others than the teacher's.

    Args:
        cfg (Config): The whole config.
        datasets (list[tuple[dict, str]]): Innermost data sets, each with its place.
        scope (str): Where a type without a scope is looked up.

    Raises:
        ConfigError: Label i is of one class in one annotation file and of another in the next;
            or a teacher's classes are to be compared one by one where names and labels are
            ordered differently, and no ``class_map`` says which are meant.
    """
    first = None
    for dataset, field in datasets:
        if not numbers_by_file(dataset_class(dataset, scope)):
            continue
        stated, meant = stated_classes(dataset, scope), label_classes(dataset, scope)
        if first is not None and sorted(map(str, meant)) == sorted(map(str, first[0])):
            _check_same_order(meant, field, *first)
        elif first is None:
            first = meant, field
        if meant != stated:
            _check_stated_order(cfg, dataset, field, stated, meant)


def _check_same_order(meant: Any, field: str, before: Any, place: str) -> None:
    if meant != before:
        raise ConfigError(
            f'{field}.ann_file: lists its categories as {listed(meant)}, but {place}.ann_file as '
            f'{listed(before)}; CocoDataset numbers its labels by the file, so one label would '
            'mean two classes; valid: the same order of "categories" in both files'
        )


def _check_stated_order(cfg: Config, dataset: Any, field: str, stated: Any, meant: Any) -> None:
    teacher = cfg.model.get('teacher') if isinstance(cfg.model, Mapping) else None
    if not isinstance(teacher, Mapping) or not compares_classes(cfg.model.get('distill')):
        return
    if teacher.get('class_map') is not None or teacher.get('cache'):
        return
    raise ConfigError(
        f'{field}.metainfo.classes: {listed(stated)}, but the labels of CocoDataset are numbered '
        f'by {dataset.get("ann_file")}, which lists {listed(meant)}; valid: metainfo.classes='
        f'{tuple(meant)}, or say which classes the teacher means by model.teacher.class_map '
        f'(where it learned from the same file, {list(range(len(meant)))})'
    )


def annotation_file(dataset: Any) -> Any:
    """Path of a data set's annotation file on this machine, ``None`` where there is none."""
    name = dataset.get('ann_file')
    root = dataset.get('data_root') or ''
    if not isinstance(name, str) or not name or '://' in f'{root}{name}':
        return None
    path = Path(str(root), name)
    return path if path.is_file() else None


def _classes_of_file(dataset: Any) -> Any:
    """Class names in the ``metainfo`` of OpenMMLab's own annotation format."""
    path = annotation_file(dataset)
    return None if path is None or path.suffix != '.json' else openmmlab_classes(path)


def is_custom(cls: type) -> bool:
    """Whether a class is MMPretrain's ``CustomDataset`` itself."""
    return cls.__name__ == 'CustomDataset' and cls.__module__.startswith('mmpretrain.')


def _folder_names(dataset: Any, scope: str) -> Any:
    """Sub-folders, by which MMPretrain's ``CustomDataset`` names its classes."""
    described = dataset.get('ann_file') or dataset.get('classes')
    if described or not type_name(dataset).endswith('CustomDataset'):
        return None
    cls = dataset_class(dataset, scope)
    if cls is not None and not any(map(is_custom, cls.__mro__)):
        return None
    prefix = dataset.get('data_prefix') or {}
    folders = [prefix] if isinstance(prefix, str) else list(prefix.values())
    folder = Path(dataset.get('data_root') or '', *filter(None, folders[:1]))
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) or None
