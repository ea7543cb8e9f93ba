"""PASCAL VOC's folders: a list of names, an image and an XML file for each."""

import collections
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ..errors import ConfigError
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


def check_voc(dataset: dict, classes, field: str) -> list[str]:
    """Read every XML file once, and find the image of each.

    Args:
        dataset (dict): Config of an ``XMLDataset``; the file of its ``ann_file`` is there.
        classes (Sequence[str]): The names that count.
        field (str): Where it stands in the config.

    Returns:
        list[str]: The images that the data set uses.

    Raises:
        ConfigError: A file is missing or is not as MMDetection reads it, or none of the objects
            has a name of ``classes``.
    """
    root = dataset.get('data_root') or ''
    names = Path(root, dataset['ann_file']).read_text(errors='replace').splitlines()
    where = f'{field}.ann_file: {Path(root, dataset["ann_file"])}'
    if not any(names):
        raise ConfigError(f'{where}: an empty list; valid: a name without extension in each line')
    prefix = dataset.get('data_prefix') or {}
    folder = Path(root, prefix.get('sub_data_root') or '')
    annotations = folder / dataset.get('ann_subdir', 'Annotations')
    images = folder / dataset.get('img_subdir', 'JPEGImages')
    found, used = collections.Counter(), []
    kept = dataset.get('filter_cfg') or {}
    for name in names:
        path = annotations / f'{name}.xml'
        count = _check_xml(path, field, len(names))
        found.update(count)
        known = any(label in classes for label in count)
        if known or dataset.get('test_mode') or not kept.get('filter_empty_gt'):
            used.append(os.fspath(images / f'{name}.jpg'))
    if not any(label in classes for label in found):
        has = f'has the names {", ".join(map(str, list(found)[:10]))}' if found else 'has no object'
        raise ConfigError(
            f'{where}: {annotations} {has}, none of metainfo.classes: '
            f'{", ".join(map(str, list(classes)[:10]))}; valid: the names that the XML files use'
        )
    return used


def _check_xml(path, field, total):
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


def _text(node, name):
    child = node.find(name)
    if child is None or child.text is None:
        raise ConfigError(f'{name}: missing in <{node.tag}>; valid: <{name}>...</{name}>')
    return child.text


def _number(node, name, convert):
    text = _text(node, name)
    try:
        convert(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f'{name}: {text!r} in <{node.tag}>; valid: a number') from error
