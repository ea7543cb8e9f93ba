"""What a loss is given: by the signature of its ``per_row``, and of which rows."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def declared_extras(per_row: Callable) -> list[str]:
    """What a ``per_row`` reads beside the logits of both and the labels, by its signature.

    Args:
        per_row (Callable): The function of a class.

    Returns:
        list[str]: Names of its further parameters.
    """
    parameters = list(inspect.signature(per_row).parameters.values())[4:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters if parameter.kind in named]


def on_rows(
    counted: Tensor, per_row: Callable[..., Tensor], *inputs: Tensor, **extra: Any
) -> Tensor:
    """A ``per_row`` of some rows alone, as if the others were not there; waits for the device.

    Args:
        counted (Tensor): Which rows, (N,) bool.
        per_row (Callable): Of a loss.
        *inputs (Tensor): What it is called with, (N, ...) each.
        **extra: What it declares. Tensors of N rows are those of the rows.

    Returns:
        Tensor: (N,), 0 on the other rows.
    """
    kept = counted.nonzero().squeeze(1)
    is_row = lambda value: isinstance(value, torch.Tensor) and value.shape[:1] == counted.shape
    select = lambda value: value.index_select(0, kept) if is_row(value) else value
    rows = per_row(*map(select, inputs), **{name: select(v) for name, v in extra.items()})
    return rows.new_zeros(len(counted)).index_copy(0, kept, rows)
