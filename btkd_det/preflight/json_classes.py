"""Class names in annotation files of JSON, without reading the rest of them."""

import contextlib
import functools
import mmap
from pathlib import Path
from typing import Any

from ..datasets.coco_json import parse_json, values_of


def openmmlab_classes(path: str | Path) -> list[str] | None:
    """Class names in the ``metainfo`` of an annotation file of OpenMMLab's own format.

    Args:
        path (str | Path): The JSON file.

    Returns:
        list[str] | None: In the order of the labels; ``None`` where the file has none.
    """
    for metainfo in _values(path, 'metainfo', '{'):
        names = metainfo.get('classes')
        if names is None and isinstance(metainfo.get('categories'), list):
            # MMPretrain reads them so where there are no classes.
            named = [c for c in metainfo['categories'] if isinstance(c, dict)]
            ordered = sorted(named, key=lambda category: category.get('id', 0))
            names = [category.get('category_name') for category in ordered]
        return list(names) if isinstance(names, list) and names else None
    return None


def _values(path: str | Path, key: str, opens: Any) -> Any:
    stat = Path(path).stat()
    return _read_values(str(path), key, opens, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read_values(path: str | Path, key: str, opens: Any, size: Any, modified: Any) -> Any:
    """The values under a key, wherever it stands; size and time tell files of a path apart."""
    if size == 0:
        return []
    found = []
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        for value in values_of(text, key, opens):
            with contextlib.suppress(ValueError, RecursionError):
                found.append(parse_json(value))
    return found
