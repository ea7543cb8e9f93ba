"""What metrics come to, as JSON takes it."""

import math
from typing import Any

import numpy as np
import torch


def plain_value(value: Any) -> Any:
    """A value in which only what JSON knows is left.

    Args:
        value (object): Of a metric: a number, a tensor, an array, or lists and dicts of them.

    Returns:
        object: Tensors and arrays as (nested) lists, those of no dimension as numbers; ``None``
        for NaN and infinities, which JSON has not; the text of anything else.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
