"""Which process of a training has ended, where the others can no longer go on without it."""

import contextlib
import datetime
import os
import socket
import time
from collections.abc import Iterator

from mmengine.dist import get_world_size
from torch import distributed

from .errors import TrainingError

#: Seconds that the processes have to say that they are there.
PATIENCE = 10.0
#: What the backends say when another process is gone.
_GONE = ('closed by peer', 'reset by peer', 'Broken pipe', 'remote process exited', 'Timed out')
_KEY = 'btkd_det'


@contextlib.contextmanager
def lost_ranks_named() -> Iterator[None]:
    """Within this context, a connection that breaks off is one line that names who is gone.

    When a connection breaks off, those that are left note that they are, where all of them look
    things up; who has not within some seconds, is lost. Does nothing for a single process.

    Raises:
        TrainingError: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingError) or get_world_size() == 1 or not _is_gone(error):
            raise
        raise TrainingError(
            f'{_lost()} of {get_world_size()} has ended, so that this one cannot go '
            'on: what it printed last says why. Start all of them again, with --resume'
        ) from error


def _is_gone(error: BaseException) -> bool:
    backend = isinstance(error, getattr(distributed, 'DistError', ()))
    return backend or any(words in str(error) for words in _GONE)


def _store() -> 'distributed.distributed_c10d.Store':
    return distributed.distributed_c10d._get_default_store()


def introduce() -> None:
    """Note this process's host and number for the others, once they have met."""
    if get_world_size() > 1:
        text = f'{socket.gethostname()}, process {os.getpid()}'
        _store().set(f'{_KEY}/{distributed.get_rank()}', text)


def _lost() -> str:
    """Names of the processes that do not say that they are there."""
    ranks = range(get_world_size())
    try:
        store = _store()
        store.set_timeout(datetime.timedelta(seconds=PATIENCE))
        store.set(f'{_KEY}/{distributed.get_rank()}/left', '1')
        deadline = time.monotonic() + PATIENCE
        gone = list(ranks)
        while gone and time.monotonic() < deadline:
            gone = [rank for rank in ranks if not store.check([f'{_KEY}/{rank}/left'])]
            # One is gone for certain: not before the end is it known that no other is.
            time.sleep(0.2)
        where = [f'rank {rank} ({store.get(f"{_KEY}/{rank}").decode()})' for rank in gone]
        return ' and '.join(where) or 'a process'
    except RuntimeError:
        # It is the first process that keeps what is looked up.
        return 'rank 0, or its launcher,'
