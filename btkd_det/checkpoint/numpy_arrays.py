"""NumPy's arrays and scalars out of a checkpoint, built from values that were checked.

A pickled array tells NumPy's C code how to rebuild it, and NumPy believes what it is told: a state
of the wrong length ends the process, another changes the one ``float64`` that all arrays share,
and an array of objects takes bytes for addresses. So no such state reaches NumPy. What a file
names as ``numpy.ndarray`` or ``numpy.dtype`` is a stand-in of ours, which takes the few states
that plain numbers and text have and refuses every other.
"""

import math
import re
from pickle import UnpicklingError
from typing import Any, NoReturn

import numpy as np

#: The types of numbers that are read: kind and size in bytes.
NUMBERS = ('b1', *(f'{kind}{size}' for kind in 'iu' for size in (1, 2, 4, 8)))
NUMBERS += ('f2', 'f4', 'f8', 'c8', 'c16')
#: Text and bytes of a fixed length.
_TEXT = re.compile(r'[US]\d{1,7}')
_MAX_DIMENSIONS = 32
_LAST_CHARACTER = 0x10FFFF


class PickledDtype:
    """What a file calls ``numpy.dtype``.

    Args:
        code (str): One of :data:`NUMBERS`, or text as ``'U12'`` or ``'S12'``.
        align (bool): Of no effect.
        copy (bool): Of no effect: the types that NumPy's arrays share are never changed.

    Attributes:
        dtype (np.dtype): The type, in the byte order of the state.

    Raises:
        UnpicklingError: Any other code.
    """

    # A file can ask for one without a code.
    dtype = None

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        known = isinstance(code, str) and (code in NUMBERS or _TEXT.fullmatch(code))
        if not known:
            refuse(f'a type {code!r}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order; everything else in the state has to be what the code says."""
        if self.dtype is None or type(state) is not tuple or len(state) != 8:
            refuse('a type with a state that none has')
        version, order, subarray, names, fields, size, alignment, flags = state
        if type(version) is not int or version != 3:
            refuse('a type with a state of another version')
        if not (subarray is names is fields is None):
            refuse('a type with fields')
        expected = ((size, self.dtype.itemsize), (alignment, self.dtype.alignment))
        if any(type(value) is not int or value not in (-1, own) for value, own in expected):
            refuse(f'a type {self.dtype.str!r} of another size')
        if type(flags) is not int or flags not in (0, self.dtype.flags):
            refuse(f'a type {self.dtype.str!r} with other flags')
        has_order = self.dtype.byteorder != '|'
        if type(order) is not str or order not in (('<', '>', '=') if has_order else ('|',)):
            refuse(f'a type {self.dtype.str!r} in the byte order {order!r}')
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """What a file calls ``numpy.ndarray``.

    Attributes:
        array (np.ndarray | None): The array, once its state is known.
    """

    array = None

    def __setstate__(self, state: Any) -> None:
        """Build the array; its bytes have to be as many as its shape and type ask for."""
        if type(state) is not tuple or len(state) != 5:
            refuse('an array with a state that none has')
        version, shape, dtype, fortran, data = state
        if type(version) is not int or version != 1 or type(fortran) not in (bool, int):
            refuse('an array with a state of another version')
        self.array = build_array(dtype, shape, data, 'F' if fortran else 'C')


def reconstruct(kind: str, shape: Any, code: Any) -> PickledArray:
    """What a file calls ``numpy.core.multiarray._reconstruct``: an array without its state."""
    if kind is not PickledArray:
        refuse('an array of a class of its own')
    return PickledArray()


def scalar(dtype: PickledDtype, data: bytes) -> Any:
    """What a file calls ``numpy.core.multiarray.scalar``.

    Args:
        dtype (PickledDtype): Its type.
        data (bytes): Its value, as it lies in memory.

    Returns:
        np.generic: The scalar.

    Raises:
        UnpicklingError: They do not go together.
    """
    own = getattr(dtype, 'dtype', None)
    if isinstance(dtype, PickledDtype) and own in (np.dtype('U0'), np.dtype('S0')):
        # Text of no length, which no array has.
        return own.type()
    return build_array(dtype, (), data)[()]


def build_array(
    dtype: PickledDtype, shape: tuple[int, ...], data: bytes, order: str = 'C'
) -> np.ndarray:
    """An array of its own memory.

    Args:
        dtype (PickledDtype): Its type.
        shape (tuple[int]): Its shape.
        data (bytes): Its values, as they lie in memory.
        order (str): ``'C'`` or ``'F'``. Defaults to ``'C'``.

    Returns:
        np.ndarray: The array.

    Raises:
        UnpicklingError: They do not go together, or are something else.
    """
    if not isinstance(dtype, PickledDtype) or type(data) is not bytes:
        refuse('an array of something else than numbers or text')
    dtype = dtype.dtype
    if dtype is None:
        refuse('a type without a code')
    if type(shape) is not tuple or len(shape) > _MAX_DIMENSIONS:
        refuse('an array with a shape that none has')
    if any(type(size) is not int or size < 0 for size in shape):
        refuse(f'an array of the shape {shape}')
    if not dtype.itemsize or math.prod(shape) * dtype.itemsize != len(data):
        refuse(f'{len(data)} bytes for an array of the shape {shape}')
    _check_values(dtype, data)
    try:
        return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order='K')
    except (ValueError, OverflowError) as error:
        refuse(f'an array of the shape {shape} ({error})')


def _check_values(dtype: Any, data: Any) -> None:
    """Truth values are 0 or 1, characters are Unicode's: NumPy does not look."""
    if dtype.kind == 'b' and np.frombuffer(data, 'u1').max(initial=0) > 1:
        refuse('truth values that are neither true nor false')
    if dtype.kind == 'U':
        characters = np.frombuffer(data, dtype.str[0] + 'u4')
        if characters.max(initial=0) > _LAST_CHARACTER:
            refuse('text with characters that there are not')


def refuse(what: str) -> NoReturn:
    """Raise the error of a file that is not read; ``what`` it holds."""
    raise UnpicklingError(f'NumPy data refused: {what}')
