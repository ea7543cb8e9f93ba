"""Files that are whole, or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | Path, part: Path | None = None) -> Iterator[Any]:
    """Within this context, a path to write to; at its end what lies there takes its place.

    Whoever looks at ``path``, after a kill or a full disk too, finds what was there before or all
    of what is new.

    Args:
        path (str | Path): Where the file, or the folder, is to be in the end.
        part (Path, optional): The path beside it. Defaults to one of this process.

    Yields:
        Path: A path beside it, to write to.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    path = Path(path)
    part = part or path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        yield part
        _flush(part)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(part, path)
        _flush_entry(path.parent)
    except BaseException:
        _remove(part)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file at once; see :func:`atomic_path`.

    Args:
        path (str | Path): The file.
        text (str): All that it holds, written as UTF-8.

    Raises:
        OSError: It cannot be written.
    """
    with atomic_path(path) as part:
        part.write_text(text, encoding='utf-8')


def _flush(part: Any) -> None:
    """Have the disk hold what was written, before the name says that it does."""
    for path in [part, *part.rglob('*')] if part.is_dir() else [part]:
        if path.is_file():
            with open(path, 'rb') as file:
                os.fsync(file.fileno())


def _flush_entry(folder: str | Path) -> None:
    # Not every file system lets a folder be opened; the name is then safe a little later.
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _remove(part: Any) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            part.unlink()
