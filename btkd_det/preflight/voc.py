"""PASCAL VOC's folders: a list of names, an image and an XML file for each."""

import collections
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..errors import ConfigError
from ..models.data_classes import listed
from .annotations import class_of


def is_plain_voc(dataset: dict, scope: str = 'mmdet') -> bool:
    """Whether a config's data set reads its files in just the way of MMDetection's XMLDataset.

    Args:
        dataset (dict): Its config.
        scope (str): The default scope.
    """
    from mmdet.datasets import XMLDataset

    kind = class_of(dataset, scope)
    own = ('load_data_list', 'parse_data_info', '_parse_instance_info', 'sub_data_root')
    return (
        isinstance(kind, type)
        and issubclass(kind, XMLDataset)
        and all(getattr(kind, name) is getattr(XMLDataset, name) for name in own)
    )


def voc_folders(dataset: dict, field: str) -> tuple[Path, Path]:
    """The folders of the XML files and of the images.

    Args:
        dataset (dict): Config of an ``XMLDataset``.
        field (str): Where it stands in the config.

    Returns:
        tuple[Path, Path]: Both.

    Raises:
        ConfigError: One is not there.
    """
    prefix = dataset.get('data_prefix') or {}
    below = (prefix.get('sub_data_root') or '') if isinstance(prefix, dict) else ''
    root = Path(dataset.get('data_root') or '', below)
    found = []
    for key, default in (('ann_subdir', 'Annotations'), ('img_subdir', 'JPEGImages')):
        found.append(root / (dataset.get(key) or default))
        if not found[-1].is_dir():
            raise ConfigError(
                f'{field}.{key}: no folder {found[-1]}; valid is a folder below '
                f'data_prefix.sub_data_root ({root}), by default {default}'
            )
    return found[0], found[1]


def check_voc(dataset: dict, classes: Sequence[str], field: str) -> list[str]:
    """Read every XML file once, and find the image of each.

    Args:
        dataset (dict): Config of an ``XMLDataset``; the file of its ``ann_file`` is there.
        classes (Sequence[str]): The names that count.
        field (str): Where it stands in the config.

    Returns:
        list[str]: The images that the data set uses.

    Raises:
        ConfigError: A folder or a file is missing or is not as MMDetection reads it, or none of
            the objects has a name of ``classes``.
    """
    list_file = Path(dataset.get('data_root') or '', dataset['ann_file'])
    names = list_file.read_text(errors='replace').splitlines()
    if not any(names):
        raise ConfigError(
            f'{field}.ann_file: {list_file}: an empty list; valid: a name without extension in '
            'each line'
        )
    annotations, images = voc_folders(dataset, field)
    found, used = collections.Counter(), []
    kept = dataset.get('filter_cfg') or {}
    for name in names:
        count = _check_xml(annotations / f'{name}.xml', field, len(names))
        found.update(count)
        known = any(label in classes for label in count)
        if known or dataset.get('test_mode') or not kept.get('filter_empty_gt'):
            used.append(os.fspath(images / f'{name}.jpg'))
    _check_names(found, classes, field, annotations, list_file)
    return used


def _check_names(found: Any, classes: Any, field: str, folder: str | Path, list_file: Any) -> None:
    """Refuse files without an object of the classes, and warn of objects of others."""
    if not found:
        raise ConfigError(
            f'{field}.ann_file: {list_file}: {folder} has no object of metainfo.classes, '
            f'{listed(list(classes))}; valid: XML files with an <object> for each box'
        )
    unknown = [name for name in found if name not in classes]
    if len(unknown) == len(found):
        raise ConfigError(
            f'{field}.metainfo.classes: {listed(list(classes))}, but the objects in {folder} are '
            f'called {listed(unknown)}, so none would be left; valid are the names in the XML files'
        )
    if unknown:
        number = sum(found[name] for name in unknown)
        print_log(
            f'{field}: {number} of {found.total()} objects in {folder} are of classes that '
            f'metainfo.classes does not name ({listed(unknown)}); the data set leaves them out',
            'current',
            level=30,
        )


def _check_xml(path: str | Path, field: str, total: Any) -> Any:
    """Names of the objects in a file, counted."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ValueError, ElementTree.ParseError) as error:
        reason = 'no such file' if isinstance(error, FileNotFoundError) else f'no XML: {error}'
        raise ConfigError(
            f"{field}: {path}: {reason}; valid: an XML file in VOC's format for each of the "
            f'{total} names in ann_file'
        ) from error
    names = collections.Counter()
    try:
        size = root.find('size')
        if size is not None:
            _number(size, 'width', int)
            _number(size, 'height', int)
        for thing in root.findall('object'):
            names[_text(thing, 'name')] += 1
            if thing.find('difficult') is not None:
                _number(thing, 'difficult', int)
            box = thing.find('bndbox')
            if box is None:
                raise ConfigError('bndbox: missing; valid: xmin, ymin, xmax, ymax')
            for side in ('xmin', 'ymin', 'xmax', 'ymax'):
                _number(box, side, lambda text: int(float(text)))
    except ConfigError as error:
        raise ConfigError(f'{field}: {path}: {error}') from error
    return names


def _text(node: Any, name: str) -> Any:
    child = node.find(name)
    if child is None or child.text is None:
        raise ConfigError(f'{name}: missing in <{node.tag}>; valid: <{name}>...</{name}>')
    return child.text


def _number(node: Any, name: str, convert: Any) -> None:
    text = _text(node, name)
    try:
        convert(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f'{name}: {text!r} in <{node.tag}>; valid: a number') from error
