"""Class names beside the folders that MMPretrain numbers its labels by."""

from pathlib import Path
from typing import Any

from ..datasets.class_folders import class_folders
from ..errors import ConfigError
from ..models.data_classes import listed
from .classes import dataset_class, is_custom, stated_classes


def check_folder_order(dataset: dict[str, Any], field: str, scope: str) -> None:
    """Refuse folders that are no classes, and classes in another order than that of their folders.

    MMPretrain's ``CustomDataset``, and ``ImageNet`` with it, numbers the labels by the sorted
    names of the folders, whatever ``classes`` says: every prediction would have another class's
    name.

    Args:
        dataset (dict): The config of a data set.
        field (str): Where it stands in the config.
        scope (str): Where a type without a scope is looked up.

    Raises:
        ConfigError: They are the same names in another order, or one is not a class.
    """
    place, names = _numbered_folders(dataset, scope), stated_classes(dataset, scope)
    folders = class_folders(place, field) if place else []
    if not folders or not names or names == folders or sorted(map(str, names)) != folders:
        return
    raise ConfigError(
        f'{field}.classes: {listed(names)}, but the labels are numbered by the folders in '
        f'alphabetical order, {listed(folders)}, so that every name would stand for another class; '
        f'valid: classes={folders}'
    )


def _numbered_folders(dataset: Any, scope: str) -> Path | None:
    """Where the folders are that number the labels; None where none do."""
    cls = dataset_class(dataset, scope)
    own = next((c for c in getattr(cls, '__mro__', ()) if is_custom(c)), None)
    if own is None or cls.load_data_list is not own.load_data_list:
        return None
    split, root = dataset.get('split') or '', Path(str(dataset.get('data_root') or ''))
    if dataset.get('ann_file') or (root / 'meta' / f'{split}.txt').is_file():
        return None
    prefix = dataset.get('data_prefix') or split
    if not isinstance(prefix, str):
        prefix = next(iter(prefix.values()), '')
    folder = root / str(prefix)
    if dataset.get('with_label') is False or not folder.is_dir():
        return None
    return folder
