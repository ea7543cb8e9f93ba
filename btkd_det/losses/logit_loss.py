"""The base of all losses between two sets of logits."""

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn

from ..checks import check_fraction, check_not_negative, check_positive  # noqa: F401
from ..registry import MODELS
from .divergences import as_float, bounded
from .labels import class_indices
from .ranks import mean_over_ranks
from .signature import declared_extras


@MODELS.register_module()
class LogitLoss(nn.Module):
    """A loss that gives one value per row and knows how to reduce them.

    A subclass says in :meth:`per_row` what a row costs; that alone makes it a loss of its own
    and a host for :class:`~btkd_det.losses.BTKDLoss`. The teacher never gets a gradient, half
    precision is computed in float32, and no rows cost an exact 0 that still has a gradient.

    What :meth:`per_row` reads beside logits and labels it declares by its signature: who calls
    the loss and has a value of that name passes it. The sites know ``foreground``, (N,) bool;
    those at RoIs ``box_ious``, (N,). ``progress`` and ``counted`` are those of :meth:`forward`.

    Args:
        loss_weight (float): Factor of the reduced loss. Defaults to 1.0.

    Attributes:
        log_vars (dict[str, Tensor]): What the last call saw, detached and without
            dimensions, for the log; none of it is a loss.
    """

    #: Names of what the loss can be called with beside logits and labels: what :meth:`per_row`
    #: declares, and ``counted``. Read off its signature when the class is made.
    extra_inputs: tuple[str, ...] = ('counted',)

    #: Whether :meth:`per_row` declares ``counted``; likewise.
    takes_counted = False
    #: Whether what a row costs depends on that row alone. A loss that neither says so nor takes
    #: ``counted`` is given the rows that count and no others, which waits for the device.
    independent_rows = False
    #: Whether the loss reads the labels; without, it also stands where a host gives none.
    needs_labels = True
    #: Whether :meth:`per_row` gets its logits :func:`bounded`. A loss that only hands them to
    #: another one leaves it to that.
    bounds_logits = True
    #: Whether BTKD can wrap this loss: a value per row that depends on the teacher's row.
    hosts = True

    #: Spaces of the rectified teacher in which BTKD can wrap it.
    host_spaces: tuple[str, ...] = ('logits', 'probs')

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'per_row' in vars(cls):
            cls.per_row = _in_float(cls.per_row)  # type: ignore[method-assign]
        declared = declared_extras(cls.per_row)
        cls.takes_counted = 'counted' in declared
        cls.extra_inputs = tuple(dict.fromkeys([*declared, 'counted']))

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_not_negative(loss_weight=loss_weight)
        self.loss_weight = loss_weight
        self.log_vars: dict[str, Tensor] = {}

    @abstractmethod
    def per_row(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """What each row costs, without ``loss_weight``.

        Args:
            student_logits (Tensor): (N, C). A subclass gets no half precision.
            teacher_logits (Tensor): (N, C), likewise, and without a gradient.
            labels (Tensor): Class index of each row, (N,).

        Returns:
            Tensor: (N,).
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what a row costs')

    def rows(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        counted: Tensor | None = None,
        **extra: Any,
    ) -> Tensor:
        """:meth:`per_row`, as if the rows that do not count were not there.

        Args:
            student_logits, teacher_logits, labels: See :meth:`per_row`.
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.
            **extra: What :meth:`per_row` declares.

        Returns:
            Tensor: (N,); what stands in rows that do not count is of no meaning.
        """
        inputs = student_logits, teacher_logits, labels
        if counted is None or self.independent_rows:
            return self.per_row(*inputs, **extra)
        if self.takes_counted:
            return self.per_row(*inputs, **{'counted': counted, **extra})
        kept = counted.nonzero().squeeze(1)
        is_row = lambda value: isinstance(value, torch.Tensor) and value.shape[:1] == counted.shape
        select = lambda value: value.index_select(0, kept) if is_row(value) else value
        extra = {name: select(value) for name, value in extra.items()}
        rows = self.per_row(*map(select, inputs), **extra)
        return rows.new_zeros(len(counted)).index_copy(0, kept, rows)

    def scale(self, progress: float | Tensor | None = None) -> float | Tensor:
        """Factor of the reduced loss at this point of the training.

        Args:
            progress (float | Tensor, optional): e / E; the runner's if not given.

        Returns:
            float | Tensor: ``loss_weight``, unless a subclass varies it.
        """
        return self.loss_weight

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        progress: float | Tensor | None = None,
        counted: Tensor | None = None,
        **extra: Any,
    ) -> Tensor:
        """The reduced loss.

        Args:
            student_logits (Tensor): (N, C).
            teacher_logits (Tensor): (N, C).
            labels (Tensor, optional): Class index of each row, (N,). Only a loss that
                :attr:`needs_labels` asks for them.
            weight (Tensor, optional): Factor of each row, (N,).
            avg_factor (float | Tensor, optional): What the sum of the rows is divided by
                instead of N. In distributed training N is the mean over the ranks, so that each
                row weighs the same, on whichever rank it is.
            reduction_override (str, optional): ``'mean'``, ``'sum'`` or ``'none'``. None, the
                default, means ``'mean'``.
            progress (float | Tensor, optional): The share e / E of the training that is done,
                for the losses that change with it. None asks the runner.
            counted (Tensor, optional): Rows that count, (N,) bool; N above is their number. The
                loss is that of the batch without the others, which cost 0. None means all.
            **extra: What :attr:`extra_inputs` names.

        Returns:
            Tensor: A scalar, or (N,) with ``reduction_override='none'``.

        Raises:
            ValueError: The shapes do not match, labels are missing or no class indices, or the
                reduction does not exist or does not go with ``avg_factor``.
        """
        if labels is None and self.needs_labels:
            raise ValueError(f'{type(self).__name__} needs labels, a class index for each row')
        if student_logits.shape != teacher_logits.shape:
            raise ValueError(
                f'student logits {tuple(student_logits.shape)} and teacher logits '
                f'{tuple(teacher_logits.shape)} differ in shape: both have to be (N, C) of the '
                'same rows and classes'
            )
        if labels is not None:
            labels = class_indices(labels, student_logits, type(self).__name__)
        if 'progress' in self.extra_inputs:
            extra['progress'] = progress
        # None where the loss reads none.
        targets: Any = labels
        rows = self.rows(student_logits, teacher_logits, targets, counted, **extra)
        spread = self.spread() and avg_factor is None and reduction_override in (None, 'mean')
        reduction = 'sum' if spread else reduction_override
        reduced = reduce_rows(rows, weight, avg_factor, reduction, counted)
        if spread:
            reduced = reduced / self.count(rows, counted)
        return reduced * self.scale(progress)

    def spread(self) -> bool:
        """Whether the rows of an iteration are spread over several processes."""
        return self.training and get_world_size() > 1

    def count(self, rows: Tensor, counted: Tensor | None = None) -> int | Tensor:
        """What the mean over the rows is divided by, at least 1.

        Args:
            rows (Tensor): (N, ...).
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.

        Returns:
            int | Tensor: Their number; in distributed training the mean over the ranks.
        """
        if not self.spread():
            return count_rows(rows, counted)
        number = torch.full((), len(rows), device=rows.device) if counted is None else counted.sum()
        return mean_over_ranks(number)


def _in_float(per_row: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A ``per_row`` that sees neither half precision nor a teacher with a gradient."""

    @functools.wraps(per_row)
    def in_float(
        self: Any, student_logits: Tensor, teacher_logits: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        logits = as_float(student_logits, teacher_logits.detach())
        if self.bounds_logits:
            logits = map(bounded, logits)
        return per_row(self, *logits, *args, **kwargs)

    return in_float


def reduce_rows(
    rows: Tensor,
    weight: Tensor | None = None,
    avg_factor: float | Tensor | None = None,
    reduction: str | None = None,
    counted: Tensor | None = None,
) -> Tensor:
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


def count_rows(rows: Tensor, counted: Tensor | None = None) -> int | Tensor:
    """What a mean over rows is divided by: how many there are, and 1 where there are none.

    Args:
        rows (Tensor): (N, ...).
        counted (Tensor, optional): Rows that count, (N,) bool. None means all.

    Returns:
        int | Tensor: Without dimensions; the host waits for nothing.
    """
    return max(rows.shape[0], 1) if counted is None else counted.sum().clamp(min=1)
