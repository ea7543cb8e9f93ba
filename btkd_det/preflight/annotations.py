"""One pass over an annotation file in COCO's format: what is wrong, and what training would use."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..datasets.coco_json import (
    UnreadableError,
    has_mark,
    is_number,
    mend,
    mend_when_read,
    read_json,
)
from ..errors import ConfigError
from .coco_file import CocoFile, sample_of, size_of

VALID = {
    'bbox': '[x, y, width, height], four finite numbers',
    'category_id': "an id of the file's categories",
    'file_name': "the image's path below data_prefix, as text",
    'height': 'the height in pixels, a number',
    'image_id': "an id of the file's images",
    'segmentation': 'polygons or an RLE for every box, or with_mask=False in LoadAnnotations',
    'width': 'the width in pixels, a number',
}
MENDED = {
    'area': 'without an area: taken from the box',
    'id': 'with an id that is missing, doubled or below 1, which COCO never finds: numbered anew',
    'iscrowd': 'without iscrowd: 0 is taken',
}


def is_plain_coco(dataset: dict, scope: str = 'mmdet') -> bool:
    """Whether a config's data set reads its file in just the way of MMDetection's CocoDataset.

    Args:
        dataset (dict): Its config.
        scope (str): The default scope.
    """
    from mmdet.datasets import CocoDataset

    kind = class_of(dataset, scope)
    own = ('load_data_list', 'parse_data_info', 'COCOAPI')
    return (
        isinstance(kind, type)
        and issubclass(kind, CocoDataset)
        and all(getattr(kind, name) is getattr(CocoDataset, name) for name in own)
    )


def class_of(dataset: dict, scope: str) -> Any:
    """What is registered under a data set's type, or None."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(dataset.get('_scope_', scope)) as own:
            kind = own.get(kind)
    return kind


def check_coco_file(
    path: str | Path, field: str, classes: Sequence[str] | None = None, masks: bool = False
) -> CocoFile:
    """Read an annotation file once and hold every entry against what MMDetection takes for given.

    A file whose faults can be mended is read mended from now on, with a warning.

    Args:
        path (str | Path): The JSON file.
        field (str): Where the config names it.
        classes (Sequence[str], optional): The classes that are used; all of the file by default.
        masks (bool): Whether each box needs a segmentation.

    Returns:
        CocoFile: What is in it.

    Raises:
        ConfigError: An entry that MMDetection would fail at: the file, the field, the id of the
            first such entry, and how many there are.
    """
    path = os.path.abspath(path)
    status = os.stat(path)
    key = (path, status.st_mtime_ns, status.st_size)
    try:
        found = _check(key, classes and tuple(map(str, classes)), masks)
    except (UnreadableError, ConfigError) as error:
        raise ConfigError(f'{field}: {path}: {error}') from error
    return found


@functools.lru_cache(maxsize=16)
def _check(key: str, classes: Any, masks: Any) -> Any:
    path = key[0]
    content = read_json(path)
    if not isinstance(content, dict):
        raise ConfigError(
            f"not in COCO's format: a {type(content).__name__} at its top; valid: a dict of "
            'images, annotations and categories'
        )
    found = CocoFile(path)
    _check_images(content, found)
    used, known = _check_categories(content, classes)
    content.setdefault('annotations', [])
    annotations = _list_of(content, 'annotations')
    if not annotations:
        found.ignored['annotations: the file has none'] = [0, path, None]
    found.mended = mend(content)
    _check_annotations(annotations, used, known, masks, found)
    found.sample = sample_of(content, found)
    _raise_first(found, has_mark(path))
    return found


def _list_of(content: Any, name: str) -> Any:
    if name not in content:
        raise ConfigError(f"{name}: missing; valid: a list of dicts, as in COCO's format")
    entries = content[name]
    if not isinstance(entries, list):
        raise ConfigError(f'{name}: {_short(entries)}; valid: a list of dicts')
    strange = [i for i, entry in enumerate(entries) if not isinstance(entry, dict)]
    if strange:
        raise ConfigError(
            f'{name}[{strange[0]}]: {_short(entries[strange[0]])}; valid: a dict '
            f'({len(strange)} of {len(entries)} are none)'
        )
    return entries


def _check_images(content: Any, found: Any) -> None:
    images = _list_of(content, 'images')
    if not images:
        raise ConfigError('images: an empty list; valid: at least one image')
    faults = {}
    for index, image in enumerate(images):
        identity = image.get('id')
        if not _is_id(identity):
            _fault(faults, 'id', f'images[{index}]', identity)
            continue
        name = image.get('file_name')
        if not isinstance(name, str) or not name:
            _fault(faults, 'file_name', f'image {identity!r}', name)
        for side in ('width', 'height'):
            if not is_number(image.get(side)):
                _fault(faults, side, f'image {identity!r}', image.get(side))
        before = found.images.setdefault(identity, image)
        if before is not image and before.get('file_name') != name:
            _fault(faults, 'id', f'images[{index}]', identity)
        elif before is not image:
            _fault(found.ignored, 'images: listed twice, by id', identity, None)
    _raise(faults, len(images), 'images', dict(id='a number or text that no other image has'))


def _check_categories(content: Any, classes: Any) -> tuple:
    """The category ids of the classes, and all of the file."""
    categories = _list_of(content, 'categories')
    faults, names = {}, {}
    for index, category in enumerate(categories):
        identity, name = category.get('id'), category.get('name')
        if name is None:
            _fault(faults, 'name', f'categories[{index}]', name)
        if not _is_id(identity) or identity in names:
            _fault(faults, 'id', f'categories[{index}]', identity)
            continue
        names[identity] = str(name)
    valid = dict(id='a number or text that no other category has', name="the class's name")
    _raise(faults, len(categories), 'categories', valid)
    used = [i for i, name in names.items() if classes is None or name in classes]
    twice = [names[i] for i in used if [names[j] for j in used].count(names[i]) > 1]
    if twice:
        raise ConfigError(
            f'categories: {twice[0]!r} is listed {twice.count(twice[0])} times, with different '
            'ids; valid: each name once'
        )
    return set(used), set(names)


def _check_annotations(annotations: Any, used: Any, known: Any, masks: Any, found: Any) -> None:
    """Look at each annotation as ``CocoDataset.parse_data_info`` will."""
    faults, sizes = {}, {i: size_of(image) for i, image in found.images.items()}
    for annotation in annotations:
        image, category = annotation.get('image_id'), annotation.get('category_id')
        identity = f'annotation {annotation["id"]!r}'
        if not _is_id(image) or not _is_id(category):
            name = 'category_id' if _is_id(image) else 'image_id'
            _fault(faults, name, identity, annotation.get(name))
            continue
        size = sizes.get(image)
        if size is None:
            _fault(found.ignored, 'image_id of no image in the file', identity, image)
            continue
        if category in used:
            found.touched.add(image)
        if annotation.get('ignore'):
            continue
        box = annotation.get('bbox')
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            _fault(faults, 'bbox', identity, box)
            continue
        if category not in known:
            _fault(found.ignored, 'category_id of no category in the file', identity, category)
        elif category in used:
            reason = _left_out(box, annotation['area'], size)
            if reason is not None:
                _fault(found.ignored, reason, identity, box)
                continue
            found.boxes[image] = found.boxes.get(image, 0) + 1
            if masks and not annotation.get('segmentation'):
                _fault(faults, 'segmentation', identity, annotation.get('segmentation'))
    _raise(faults, len(annotations), 'annotations', VALID)


def _left_out(box: Any, area: Any, size: Any) -> str | None:
    """Why MMDetection leaves a box out, or None."""
    x, y, w, h = box
    width, height = size
    if min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        return "bbox outside of the image, by the file's width and height"
    if w < 1 or h < 1:
        return 'bbox of less than a pixel'
    return 'area of 0 or less' if area <= 0 else None


def _is_id(value: Any) -> Any:
    return isinstance(value, (int, str, float)) and value == value


def _fault(faults: Any, kind: str, where: str, value: Any) -> None:
    entry = faults.get(kind)
    if entry is None:
        faults[kind] = [1, where, value]
    else:
        entry[0] += 1


def _raise(faults: Any, total: Any, part: Any, valid: Any) -> None:
    if faults:
        kind, (count, where, value) = next(iter(faults.items()))
        value = 'missing' if value is None else _short(value)
        more = f', and {sum(f[0] for f in faults.values()) - count} other faults'
        raise ConfigError(
            f'{where}, {kind}: {value}; valid: {valid.get(kind, VALID.get(kind))} ({count} of '
            f'{total} {part}{more if len(faults) > 1 else ""})'
        )


def _short(value: Any) -> Any:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _raise_first(found: Any, mark: Any) -> None:
    """Warn of what is mended, and of what MMDetection leaves out without a word."""
    lines = []
    if mark:
        lines.append('starts with a byte order mark (BOM): read without it')
    for name, (count, first) in found.mended.items():
        lines.append(f'{count} annotations {MENDED[name]} (the first: {first!r})')
    if mark or found.mended:
        mend_when_read(found.path)
    for reason, (count, where, value) in found.ignored.items():
        if not count:
            lines.append(reason)
            continue
        value = '' if value is None else f', {_short(value)}'
        lines.append(f'{count} entries are left out, {reason} (the first: {where}{value})')
    for line in lines:
        print_log(f'{found.path}: {line}', 'current', level=30)
