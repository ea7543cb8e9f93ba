"""Folders, annotation files and categories that a data set names."""

from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..datasets.coco_json import UnreadableError, category_names, read_json
from ..datasets.image_files import check_image_files
from ..errors import ConfigError
from ..models.data_classes import listed
from .classes import dataset_class, is_coco, label_classes, numbers_by_file, stated_classes
from .folder_classes import check_folder_order


def check_files(dataset: Any, field: str, scope: str) -> None:
    root = dataset.get('data_root') or ''
    if '://' in str(root):
        return
    if check_image_files(dataset, field):
        check_folder_order(dataset, field, scope)
        return
    if root and not Path(root).is_dir():
        raise ConfigError(
            f'{field}.data_root: no folder {root} (looked in {Path.cwd()}); give the folder of '
            'the data set with --cfg-options data_root=FOLDER'
        )
    annotations = dataset.get('ann_file')
    if annotations:
        path = Path(root, annotations)
        if not path.is_file():
            raise ConfigError(
                f'{field}.ann_file: no file {path}; valid is an annotation file below the '
                f'data root {root or Path.cwd()}'
            )
        if path.suffix == '.json' and is_coco(dataset_class(dataset, scope)):
            _check_categories(dataset, path, f'{field}.ann_file', scope)
    for place, folder in _image_folders(dataset).items():
        if not Path(root, folder).is_dir():
            raise ConfigError(
                f'{field}.{place}: no folder {Path(root, folder)}; valid is the '
                'folder of the images'
            )
    check_folder_order(dataset, field, scope)


def _check_categories(dataset: Any, path: str | Path, field: str, scope: str) -> None:
    try:
        names = category_names(path)
        if names is None:
            read_json(path)
    except UnreadableError as error:
        raise ConfigError(f'{field}: {path}: {error}') from error
    if names is None:
        raise ConfigError(
            f'{field}: {path} has no list "categories", each with a name; valid is an annotation '
            "file in COCO's JSON format"
        )
    classes = stated_classes(dataset, scope) or []
    missing = [name for name in classes if name not in names]
    if missing:
        raise ConfigError(
            f'{field}: {path} does not list the classes {listed(missing)} of '
            f'metainfo.classes; valid are its categories: {listed(names)}'
        )
    meant = label_classes(dataset, scope)
    if numbers_by_file(dataset_class(dataset, scope)) and meant != classes:
        print_log(
            f'{field}: {path} lists the classes in another order than metainfo.classes; the data '
            'set numbers its labels by the file, so what the model finds will have the name of '
            f'another class in predictions and in other tools; valid: metainfo.classes='
            f'{tuple(meant or ())}',
            'current',
            level=30,
        )


def _image_folders(dataset: Any) -> dict[str, Any] | dict[Any, Any]:
    """Folders below the data root by their place in the config: one, or a dict of several."""
    given = dataset.get('data_prefix') or {}
    if isinstance(given, str):
        return {'data_prefix': given}
    return {f'data_prefix.{k}': v for k, v in given.items() if isinstance(v, str) and v}
