"""Reading COCO's JSON files, also those whose small faults can be mended without a loss."""

import functools
import json
import mmap
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Levels of nesting that a JSON text may have.
DEEPEST = 900
UTF_16 = (b'\xff\xfe', b'\xfe\xff')
LFS = b'version https://git-lfs'
# Real paths of the files that are mended whenever MMDetection reads them in this process.
_MENDED = set()


class UnreadableError(ValueError):
    """A file is no JSON; the message says why and what would help, without the file's name."""


def parse_json(text: str | bytes) -> Any:
    """As ``json.loads``, which ends the process at deep nesting where a package raised the limit.

    PyTorch's compiler and MMRazor raise Python's recursion limit beyond what the stack holds.

    Args:
        text (str | bytes): JSON.

    Returns:
        object: Its content.

    Raises:
        RecursionError: It is nested too deeply.
        ValueError: It is no JSON.
    """
    before = sys.getrecursionlimit()
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(min(before, depth + DEEPEST))
    try:
        return json.loads(text)
    finally:
        sys.setrecursionlimit(before)


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        path (str | Path): The file.

    Returns:
        object: Its content.

    Raises:
        UnreadableError: It is empty, in another encoding, or no JSON.
    """
    content = Path(path).read_bytes()
    if not content.strip():
        raise UnreadableError('the file is empty')
    if content.startswith(LFS):
        raise UnreadableError('a pointer of Git LFS in place of the file; git lfs pull fetches it')
    try:
        return parse_json(content)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f'not in UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}; valid: '
            'UTF-8, by iconv -f LATIN1 -t UTF-8 for what an old Windows program wrote'
        ) from error
    except RecursionError as error:
        raise UnreadableError('not valid JSON: nested too deeply') from error
    except ValueError as error:
        raise UnreadableError(f'not valid JSON: {error}') from error


def has_mark(path: str | Path) -> bool:
    """Whether a file starts with a byte order mark, which MMDetection's reading stumbles over."""
    with open(path, 'rb') as file:
        start = file.read(3)
    return start == b'\xef\xbb\xbf' or start[:2] in UTF_16


def category_names(path: str | Path) -> list | None:
    """Category names of a COCO annotation file, in most cases without reading the rest of it.

    Takes a time that grows with the size of the file, whatever stands in it.

    Args:
        path (str | Path): The JSON file.

    Returns:
        list[str] | None: The names in the order of the file; ``None`` where there is no list
        of categories.
    """
    stat = Path(path).stat()
    names = _read_names(str(path), stat.st_size, stat.st_mtime_ns)
    return None if names is None else list(names)


@functools.lru_cache(maxsize=64)
def _read_names(path: str | Path, size: Any, modified: Any) -> Any:
    """As :func:`category_names`; size and time tell files of a path apart."""
    if size == 0:
        return None
    with open(path, 'rb') as file:
        if file.read(2) in UTF_16:
            return _names_of(read_json(path))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            for value in values_of(text, 'categories', '['):
                names = _names(value)
                if names is not None:
                    return names
    return None


def values_of(text: bytes, key: str, opens: str) -> Iterator[bytes]:
    """The lists or dicts under a key of a JSON text, wherever it stands but within one of them.

    Args:
        text (bytes | mmap.mmap): The text.
        key (str): The key.
        opens (str): The bracket that such a value begins with, ``'['`` or ``'{'``.

    Yields:
        bytes: A value. No part of the text is walked through twice.
    """
    pattern = re.compile(rf'"{key}"\s*:\s*(?=\{opens})'.encode())
    match = pattern.search(text)
    while match:
        end = end_of_value(text, match.end())
        if end is None:
            return
        yield text[match.end() : end]
        match = pattern.search(text, end)


def end_of_value(text: bytes, start: int) -> int | None:
    """Where a list or dict of a JSON text ends, in one pass whatever is in it.

    Args:
        text (bytes | mmap.mmap): The text.
        start (int): Where its opening bracket stands.

    Returns:
        int | None: Behind its closing bracket; ``None`` where there is none.
    """
    depth = 0
    for match in re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL).finditer(text, start):
        token = match.group()
        depth += (token in b'[{') - (token in b']}')
        if depth == 0:
            return match.end()
    return None


def _names(text: str) -> list[Any] | None:
    try:
        entries = parse_json(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(entry, dict) and 'name' in entry for entry in entries):
        return None
    return [entry['name'] for entry in entries]


def _names_of(content: Any) -> Any:
    entries = content.get('categories') if isinstance(content, dict) else None
    return _names(json.dumps(entries)) if isinstance(entries, list) else None


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return type(value) in (int, float) and abs(value) < float('inf')


def mend(content: dict) -> dict[str, tuple]:
    """Add what is missing in annotations and follows from the rest of them, in place.

    A missing ``area`` becomes the box's, a missing ``iscrowd`` 0, and ids are as
    :func:`number_anew` has them.

    Args:
        content (dict): What a COCO file holds, its annotations a list of dicts.

    Returns:
        dict[str, tuple[int, object]]: The field to the number of annotations and the id of the
        first of them, for each field that was mended.
    """
    annotations = content.get('annotations') or ()
    renumbered = number_anew(annotations)
    done = {'id': [len(renumbered), renumbered[0]]} if renumbered else {}
    for annotation in annotations:
        identity = annotation['id']
        if not is_number(annotation.get('area')):
            _count(done, 'area', identity)
            box = annotation.get('bbox')
            annotation['area'] = box[2] * box[3] if _is_box(box) else 0
        if not is_number(annotation.get('iscrowd')) and annotation.get('iscrowd') not in (
            True,
            False,
        ):
            _count(done, 'iscrowd', identity)
            annotation['iscrowd'] = 0
    content.setdefault('annotations', [])
    return {field: tuple(count) for field, count in done.items()}


def number_anew(annotations: Sequence[dict]) -> list[Any]:
    """Give every annotation an ``id`` of its own from 1 on, in place.

    An ``id`` that is missing, no number, below 1 or used before becomes the next free one.
    pycocotools notes the id of the annotation that a detection matches, and 0 where there is none:
    an annotation of that id is never found.

    Args:
        annotations (Sequence[dict]): Of a COCO file.

    Returns:
        list: What stood in the place of the new ids.
    """
    seen: set[Any] = set()
    faulty = []
    for annotation in annotations:
        identity = annotation.get('id')
        if not is_number(identity) or identity < 1 or identity in seen:
            faulty.append(annotation)
        else:
            seen.add(identity)
    before = [annotation.get('id') for annotation in faulty]
    for number, annotation in enumerate(faulty, 1 + int(max(seen, default=0))):
        annotation['id'] = number
    return before


def _count(done: Any, field: str, identity: Any) -> None:
    done.setdefault(field, [0, identity])[0] += 1


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def mend_when_read(path: str | Path) -> None:
    """From now on, MMDetection reads this file mended, in data sets and in evaluators.

    The file itself stays as it is.

    Args:
        path (str | Path): The JSON file.
    """
    from mmdet.datasets.api_wrappers import coco_api

    _MENDED.add(os.path.realpath(path))
    if not hasattr(coco_api.COCO, 'reads_mended'):
        coco_api.COCO.__init__ = _reading_mended(coco_api.COCO.__init__)
        coco_api.COCO.reads_mended = True


def _reading_mended(init: Any) -> Any:
    def __init__(self: Any, annotation_file: Any = None) -> None:
        if annotation_file is None or os.path.realpath(annotation_file) not in _MENDED:
            init(self, annotation_file)
            return
        init(self, None)
        self.dataset = read_json(annotation_file)
        mend(self.dataset)
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    return __init__
