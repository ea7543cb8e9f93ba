"""``torch.load`` for checkpoints from outside: weights only, in the host packages too."""

import contextlib
import functools
import os
import re
import threading
from collections.abc import Iterator
from pickle import UnpicklingError
from typing import Any

import torch

from ..errors import ConfigError
from .plain_data import PLAIN_DATA, is_ours, rebuilt

_FORCE, _FORCE_NOT = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_torch_load = torch.load
_lock = threading.RLock()


def allow_mmengine_types() -> None:
    """Let ``torch.load(weights_only=True)`` accept what MMEngine itself writes into a checkpoint.

    These are NumPy's arrays and scalars, MMEngine's record of the logged values and what else
    :mod:`btkd_det.checkpoint.plain_data` lists: plain data, none of which runs code when it is
    read. From here on ``torch.load`` is a function of ours around PyTorch's: MMEngine offers
    NumPy's own functions for reading, and a crafted file ends the process in them.
    """
    torch.load = torch.serialization.load = _load


@functools.wraps(_torch_load)
def _load(*args: Any, **kwargs: Any) -> Any:
    with _lock, _plain_data():
        try:
            return rebuilt(_torch_load(*args, **kwargs))
        except UnpicklingError as error:
            if not os.environ.get(_FORCE):
                raise
            # Not as an UnpicklingError, on which MMEngine tries again without the limit.
            source = args[0] if args else kwargs.get('f')
            source = getattr(source, 'name', source)
            raise ConfigError(
                f'checkpoint: {source} is not read, because it {refusal(error)}'
            ) from error


@contextlib.contextmanager
def _plain_data() -> Iterator[None]:
    """Within this context the unpickler knows our list, and of others' what it has not."""
    before = torch.serialization.get_safe_globals()
    others = [entry for entry in before if not is_ours(entry)]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([*others, *PLAIN_DATA])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


@contextlib.contextmanager
def forced_weights_only() -> Iterator[None]:
    """Within this context every ``torch.load``, of the host packages too, reads weights only.

    MMEngine falls back to full unpickling where a checkpoint is refused, or never asks for
    weights only, by version; the environment variable that PyTorch reads overrules both.

    Raises:
        ConfigError: Within the context, where a file holds something else than plain data.
    """
    allow_mmengine_types()
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORCE_NOT)}
    os.environ[_FORCE] = '1'
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def refusal(error: UnpicklingError) -> str:
    """Why a file is not read, to follow "because it".

    Args:
        error (UnpicklingError): Of ``torch.load``.

    Returns:
        str: Part of a sentence.
    """
    text = str(error)
    found = re.search(r'Unsupported global: GLOBAL (\S+)', text)
    if found:
        return f'holds a {found[1]}, which would have to be executed'
    found = re.search(r'NumPy data refused: ([^\n]*)', text)
    if found:
        return f'holds {found[1][:200]}'
    return f'is damaged or is no checkpoint ({first_line(error)[:100]})'


def first_line(error: Exception) -> Any:
    """The first line of an error's message, or its class where it has none."""
    return str(error).strip().split('\n')[0] or type(error).__name__
