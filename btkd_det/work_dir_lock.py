"""One run at a time in a work dir."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ConfigError

FILE = '.lock'


@contextlib.contextmanager
def work_dir_locked(folder: str | Path) -> Iterator[None]:
    """Within this context no other run begins in a work dir; the main process takes it.

    The lock is the operating system's: it is gone with the process, by whatever it ends. Where
    the file system knows no locks, nothing is locked.

    Args:
        folder (str | Path): The work dir; it is made.

    Raises:
        ConfigError: Another process trains there.
    """
    fcntl: Any
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None
    if fcntl is None or os.environ.get('RANK', '0') != '0':
        yield
        return
    path = Path(folder, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not as flock has it, which the workers of a data loader would inherit and hold a little on.
    with open(path, 'a+', encoding='utf-8') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise ConfigError(
                f'--work-dir: {folder} is in use by another run ({file.read().strip()}), which '
                'would be written over; valid: another folder, or this one when that run has ended'
            ) from error
        except OSError:
            yield
            return
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
