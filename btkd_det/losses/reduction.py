"""From values per row to a loss."""

import torch


def reduce_rows(rows, weight=None, avg_factor=None, reduction=None, counted=None):
    """Reduce values per row as every loss of MMDetection does, but 0 for no rows.

    Args:
        rows (Tensor): (N,).
        weight (Tensor, optional): (N,).
        avg_factor (float | Tensor, optional): Divisor of the mean instead of N.
        reduction (str, optional): ``'mean'``, the default, ``'sum'`` or ``'none'``.
        counted (Tensor, optional): Rows that count, (N,) bool; the others become 0, and the mean
            is over those that count. None means all.

    Returns:
        Tensor: A scalar, or (N,) for ``'none'``.

    Raises:
        ValueError: The reduction does not exist, or is ``'sum'`` with an ``avg_factor``.
    """
    if reduction not in (None, 'mean', 'sum', 'none'):
        raise ValueError(
            f"reduction_override: unknown value {reduction!r}; valid: 'mean', 'sum', 'none'"
        )
    if reduction == 'sum' and avg_factor is not None:
        raise ValueError("avg_factor goes with the reduction 'mean', not with 'sum'")
    if counted is not None:
        rows = rows.masked_fill(~counted, 0)
    if weight is not None:
        rows = rows * weight
    if reduction == 'none':
        return rows
    if reduction == 'sum':
        return rows.sum()
    if avg_factor is not None:
        return rows.sum() / (avg_factor + torch.finfo(torch.float32).eps)
    return rows.sum() / count_rows(rows, counted)


def count_rows(rows, counted=None):
    """What a mean over rows is divided by: how many there are, and 1 where there are none.

    Args:
        rows (Tensor): (N, ...).
        counted (Tensor, optional): Rows that count, (N,) bool. None means all.

    Returns:
        int | Tensor: Without dimensions; the host waits for nothing.
    """
    return max(rows.shape[0], 1) if counted is None else counted.sum().clamp(min=1)
