"""Logits in a precision and a range in which losses can be computed."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: Logits beyond it, up or down, count as this much: differences and squares of larger ones are
#: beyond float32.
LARGEST = 1e15


def as_float(*tensors: Tensor) -> Any:
    """The tensors in float32, or as they are if they are that or float64 already.

    Args:
        *tensors (Tensor): Floating point.

    Returns:
        Tensor | tuple[Tensor]: One for one.
    """
    half = (torch.float16, torch.bfloat16)
    cast = tuple([t.float() if t.dtype in half else t for t in tensors])
    return cast[0] if len(cast) == 1 else cast


def bounded(logits: Tensor) -> Tensor:
    """Logits of at most :data:`LARGEST` up or down, what is infinite or no number as it is.

    Args:
        logits (Tensor): Any shape, no half precision.

    Returns:
        Tensor: The same shape; what was cut off has no gradient.
    """
    # Differences instead of comparisons, which take a CPU ten times as long: what is finite differs
    # by 0 from the nearest finite number, what is infinite by itself.
    fixed, limit = logits.detach(), torch.finfo(logits.dtype).max
    return F.hardtanh(logits, -LARGEST, LARGEST) - fixed.clamp(-limit, limit).sub_(fixed)
