"""Of what a checkpoint may name, that which carries no code.

Beside tensors, which PyTorch reads by itself, these are found in the checkpoints of

- MMCV 1 with MMDetection 2, MMClassification and MMSelfSup: NumPy's scalars, the best score that a
  hook noted;
- MMEngine with MMDetection 3, MMPretrain and MMYOLO: NumPy's arrays and scalars, its record of
  the logged values, the annealing function of a one-cycle schedule, parts of a config.

Python's pickle names each by its module, and NumPy 2 has moved its own: both names are known,
whichever NumPy is installed.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pickle import UnpicklingError
from typing import Any

import numpy as np
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler

from .numpy_arrays import NUMBERS, PickledArray, PickledDtype, reconstruct, scalar

_ANNEALING = ('_annealing_cos', '_annealing_linear')


class PickledHistory:
    """What a file calls ``mmengine.logging.history_buffer.HistoryBuffer``.

    MMEngine's own takes methods out of the file and gives them to all records. This one takes the
    record alone.
    """

    state = None

    def __setstate__(self, state: Any) -> None:
        """Take the record; what else is in the state is passed over."""
        self.state = state

    def build(self) -> HistoryBuffer:
        """The record.

        Returns:
            HistoryBuffer: With the values, the counts and the greatest length of the file.

        Raises:
            UnpicklingError: They are not there, or are something else.
        """
        state = self.state if isinstance(self.state, dict) else {}
        length, *parts = (
            state.get(key) for key in ('max_length', '_log_history', '_count_history')
        )
        arrays = [part.array for part in parts if isinstance(part, PickledArray)]
        if (
            type(length) is not int
            or len(arrays) != 2
            or any(a is None or a.ndim != 1 or a.dtype.kind not in 'biuf' for a in arrays)
            or len(arrays[0]) != len(arrays[1])
        ):
            raise UnpicklingError('NumPy data refused: a record of logged values without its parts')
        history = HistoryBuffer([], [], max_length=length)
        history._log_history, history._count_history = arrays
        return history


def _attribute(owner: Any, name: str) -> Any:
    """What a file calls ``getattr``, by which functions within a class are pickled."""
    if owner is PickledHistory:
        return None
    if owner is OneCycle and name in _ANNEALING:
        return getattr(OneCycleParamScheduler, name)
    raise UnpicklingError(f'Unsupported global: GLOBAL getattr of {owner}')


class OneCycle:
    """What a file calls MMEngine's ``OneCycleParamScheduler``: the place of its functions."""

    def __init__(self) -> None:
        raise UnpicklingError('Unsupported global: GLOBAL OneCycleParamScheduler')


def _no_bytes() -> bytes:
    """What a file calls ``bytes``, by which no bytes at all are pickled: those of empty arrays."""
    return b''


def _config_part(content: Any = None) -> Any:
    """What a file calls MMEngine's ``ConfigDict``."""
    if content is not None and type(content) is not dict:
        raise UnpicklingError('Unsupported global: GLOBAL ConfigDict of something else')
    return content or {}


def _dtype_class(code: Any) -> Any:
    """What a file calls one of ``numpy.dtypes``."""
    return lambda *args: PickledDtype(code, *args)


def _named(full_name: Any, target: Any) -> Any:
    """``target`` under the name by which PyTorch's unpickler looks it up in every version."""
    module, _, name = full_name.rpartition('.')
    target.__module__, target.__name__, target.__qualname__ = module, name, name
    return target


def _copy(function: Any) -> Any:
    """A function of its own: each has one name."""
    return lambda *args: function(*args)


def _numpy_names() -> Iterator[Any]:
    for core in ('numpy.core', 'numpy._core'):
        yield f'{core}.multiarray._reconstruct', _copy(reconstruct)
        yield f'{core}.multiarray.scalar', _copy(scalar)
    yield 'numpy.ndarray', PickledArray
    yield 'numpy.dtype', PickledDtype
    for code in NUMBERS:
        yield f'numpy.dtypes.{type(np.dtype(code)).__name__}', _dtype_class(code)


_NAMES = dict(_numpy_names())
_NAMES |= {
    'mmengine.logging.history_buffer.HistoryBuffer': PickledHistory,
    'mmengine.config.config.ConfigDict': _config_part,
    'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': OneCycle,
    'builtins.getattr': _attribute,
    'builtins.bytes': _no_bytes,
}
# What a file's content consists of; a subclass was not made by PyTorch's unpickler.
_REBUILT = {dict, OrderedDict, Counter, list, tuple, PickledArray, PickledDtype, PickledHistory}
#: For ``torch.serialization.add_safe_globals``.
PLAIN_DATA = [*(_named(name, target) for name, target in _NAMES.items()), slice]


def is_ours(entry: Callable | tuple) -> bool:
    """Whether one of PyTorch's safe globals has a name that :data:`PLAIN_DATA` has.

    Args:
        entry (Callable | tuple): As ``torch.serialization.get_safe_globals`` gives it.
    """
    if isinstance(entry, tuple):
        return entry[1] in _NAMES
    return f'{entry.__module__}.{entry.__qualname__}' in _NAMES


def rebuilt(content: Any) -> Any:
    """The content of a file with arrays, types and records in the places of their stand-ins.

    Args:
        content (Any): What PyTorch's unpickler gave. Dictionaries and lists are changed in place.

    Returns:
        Any: The content.

    Raises:
        UnpicklingError: A stand-in lacks its state, or the content is nested too deeply.
    """
    try:
        return _Rebuilding().of(content)
    except RecursionError:
        raise UnpicklingError('the content is nested too deeply') from None


class _Rebuilding:
    """One walk over a file's content; what is shared there stays shared."""

    def __init__(self) -> None:
        # The key is an address, so what has it must stay.
        self.done, self.kept = {}, []

    def of(self, node: Any) -> Any:
        if type(node) not in _REBUILT:
            return node
        if id(node) not in self.done:
            self.kept.append(node)
            self.done[id(node)] = node
            self.done[id(node)] = self._rebuild(node)
        return self.done[id(node)]

    def _rebuild(self, node: Any) -> Any:
        if isinstance(node, PickledArray):
            if node.array is None:
                raise UnpicklingError('NumPy data refused: an array without a state')
            return node.array
        if isinstance(node, PickledDtype):
            if node.dtype is None:
                raise UnpicklingError('NumPy data refused: a type without a code')
            return node.dtype
        if isinstance(node, PickledHistory):
            return node.build()
        if isinstance(node, tuple):
            return self._of_tuple(node)
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            new = self.of(value)
            if new is not value:
                node[key] = new
        return node

    def _of_tuple(self, node: Any) -> Any:
        items = [self.of(item) for item in node]
        same = all(new is old for new, old in zip(items, node, strict=True))
        return node if same else tuple(items)
