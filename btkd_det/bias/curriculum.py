"""How much do the right rows count now, how much the rectified ones?"""

import math

import torch
from torch import Tensor

from ..checks import check_choice
from ..errors import ConfigError

SCHEDULES = ('cosine', 'linear', 'none')
NORMALIZATIONS = ('subset', 'all')


def coefficient(progress: float | Tensor | None, schedule: str = 'cosine') -> float | Tensor:
    """Gamma, the weight of the rectified rows; the right ones get 1 - gamma.

    ``cosine`` is the published code of BTKD, ``1 - cos^2(pi / 2 * e / E)``. ``linear`` is the
    paper's ``e / E`` read plainly. The paper counts iterations, the code epochs; here
    ``progress`` is whatever the caller counts, and the losses count iterations.

    Args:
        progress (float | Tensor): e / E, 0 at the start of training and 1 at its end. A
            tensor has no dimensions.
        schedule (str): ``'cosine'`` or ``'linear'``.

    Returns:
        float | Tensor: Gamma, of the kind of ``progress``.

    Raises:
        ConfigError: ``schedule`` is neither.
    """
    if progress is None:
        raise TypeError('progress: None, and only the schedule "none" does without it')
    if schedule == 'linear':
        return progress
    if schedule == 'cosine':
        angle = progress * (math.pi / 2)
        sine = torch.sin(angle) if isinstance(angle, torch.Tensor) else math.sin(angle)
        return sine * sine
    raise ConfigError(f"schedule: {schedule!r} has no coefficient; valid: 'cosine', 'linear'")


def count_parts(right: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Number of right and of wrong rows.

    Args:
        right (Tensor): Whether the teacher is right, (N,) bool.
        dtype (torch.dtype, optional): Of the counts. Defaults to torch's default dtype.

    Returns:
        Tensor: (2,).
    """
    n_right = right.sum(dtype=dtype or torch.get_default_dtype())
    return torch.stack([n_right, right.shape[0] - n_right])


def part_sums(rows: Tensor, right: Tensor, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How many rows are right and wrong, and what they add up to.

    Args:
        rows (Tensor): Values, (N,), without a gradient.
        right (Tensor): Whether the teacher is right, (N,) bool.
        counted (Tensor, optional): Rows that are in either part at all, (N,) bool. None means
            all.

    Returns:
        tuple[Tensor, Tensor]: Numbers and sums in the dtype of ``rows``, (2,) each.
    """
    mask = (right if counted is None else right & counted).to(rows.dtype)
    number = rows.shape[0] if counted is None else counted.sum(dtype=rows.dtype)
    n_right, right_sum, total = torch.stack([mask, rows * mask, rows]).sum(dim=1).unbind()
    counts = torch.stack([n_right, number - n_right])
    return counts, torch.stack([right_sum, total - right_sum])


def curriculum(
    right: Tensor,
    progress: float | Tensor | None = None,
    schedule: str = 'cosine',
    normalize: str = 'subset',
    *,
    drop_wrong: bool = False,
    total: float | Tensor = 1.0,
    counts: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Weight of each row, so that the loss is the weighted sum of the rows' values.

    With ``subset``, as published, each part is a mean over its own rows: a right row weighs
    ``(1 - gamma) / n_right``, a wrong one ``gamma / n_wrong``. Late in training a handful of
    wrong rows then carries the whole term: one wrong row in 512 weighs as much as all the
    right ones together at gamma = 0.5, and 512 times its plain share at the end. ``all``
    divides both by N. A part without rows weighs nothing, where the published scripts divide
    by zero.

    Args:
        right (Tensor): Whether the teacher is right, (N,) bool.
        progress (float | Tensor, optional): e / E in 0 to 1; ``schedule='none'`` does not
            read it.
        schedule (str): ``'cosine'`` and ``'linear'``, see :func:`coefficient`, or
            ``'none'``: every row weighs 1 / N whatever ``normalize`` says, which is
            rectification alone. Defaults to ``'cosine'``.
        normalize (str): ``'subset'`` or ``'all'``. Defaults to ``'subset'``.
        drop_wrong (bool): Wrong rows weigh 0 and the right ones what they would have
            weighed beside them: elimination alone. Defaults to False.
        total (float | Tensor): Factor of every weight. With ``subset`` it is what the weights of
            a batch with both parts add up to; with ``all`` each row has a share of ``total / N``,
            of which it gets 1 - gamma or gamma, so that they add up to less; a number for
            ``none``. Defaults to 1.
        counts (Tensor, optional): What ``subset`` divides right and wrong rows by, (2,).
            Defaults to their numbers.
        dtype (torch.dtype, optional): Of the weights. Defaults to torch's default dtype.

    Returns:
        Tensor: (N,) weights.

    Raises:
        ConfigError: ``schedule`` or ``normalize`` is unknown.

    Examples:
        >>> import torch
        >>> from btkd_det.bias import curriculum
        >>> right = torch.tensor([True, True, True, False])
        >>> curriculum(right, progress=0.5)
        tensor([0.1667, 0.1667, 0.1667, 0.5000])
        >>> curriculum(right, schedule='none')
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    check_curriculum(schedule, normalize)
    gamma = None if schedule == 'none' else coefficient(progress, schedule)
    return weigh(
        right, gamma, normalize, drop_wrong=drop_wrong, total=total, counts=counts, dtype=dtype
    )


def weigh(
    right: Tensor,
    gamma: float | Tensor | None,
    normalize: str = 'subset',
    *,
    drop_wrong: bool = False,
    total: float | Tensor = 1.0,
    counts: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """:func:`curriculum` for a caller that has the coefficient and has checked the names.

    Args:
        gamma (float | Tensor | None): From :func:`coefficient`; ``None`` for the schedule
            ``'none'``.
        right, normalize, drop_wrong, total, counts, dtype: As for :func:`curriculum`.

    Returns:
        Tensor: (N,) weights.
    """
    dtype = dtype or torch.get_default_dtype()
    share = total / max(right.shape[0], 1)
    if gamma is None:
        right_weight = wrong_weight = _scalar(share, dtype, right)
    elif normalize == 'subset':
        if counts is None:
            counts = count_parts(right, dtype)
        per_right, per_wrong = counts.reciprocal().unbind()
        right_weight = per_right * ((1 - gamma) * total)
        wrong_weight = per_wrong * (gamma * total)
    else:
        right_weight = _scalar((1 - gamma) * share, dtype, right)
        wrong_weight = _scalar(gamma * share, dtype, right)
    if drop_wrong:
        wrong_weight = torch.zeros_like(right_weight)
    return torch.where(right, right_weight, wrong_weight)


def _scalar(value: float | Tensor, dtype: torch.dtype, like: Tensor) -> Tensor:
    """A number or a tensor without dimensions as a tensor, made where ``like`` is."""
    return torch.ones((), dtype=dtype, device=like.device) * value


def check_curriculum(schedule: str, normalize: str) -> None:
    """Raise a ConfigError unless both names are known."""
    check_choice('schedule', schedule, SCHEDULES)
    check_choice('normalize', normalize, NORMALIZATIONS)
