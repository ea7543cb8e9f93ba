"""The base of all losses between two sets of logits."""

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_fraction, check_not_negative, check_positive  # noqa: F401
from ..registry import MODELS
from .divergences import HALF, LARGEST, as_float  # noqa: F401
from .ranks import mean_over_ranks
from .signature import declared_extras, on_rows


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
            student_logits, teacher_logits, labels, counted, **extra: See :meth:`forward`.

        Returns:
            Tensor: (N,); what stands in rows that do not count is of no meaning.
        """
        inputs = student_logits, teacher_logits, labels
        if counted is not None and not self.independent_rows:
            if not self.takes_counted:
                return on_rows(counted, self.per_row, *inputs, **extra)
            extra = {'counted': counted, **extra}
        return self.per_row(*inputs, **extra)

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
            labels = self.class_indices(labels, student_logits)
        if 'progress' in self.extra_inputs:
            extra['progress'] = progress
        # None where the loss reads none.
        targets: Any = labels
        rows = self.rows(student_logits, teacher_logits, targets, counted, **extra)
        reduced = self.reduce(rows, weight, avg_factor, reduction_override, counted)
        return reduced * self.scale(progress)

    def class_indices(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Labels of any type of whole numbers, (N,), as int64, for logits of (N, C).

        Raises:
            ValueError: They have another shape or are no whole numbers; on a CPU also where one is
                no class. A GPU says so itself, when it looks the class up.
        """
        name, (rows, classes) = type(self).__name__, logits.shape
        if labels.shape != (rows,):
            raise ValueError(
                f'{name}: labels of shape {tuple(labels.shape)} for logits of shape '
                f'{tuple(logits.shape)}; valid: one class index for each row, ({rows},)'
            )
        whole = not labels.is_floating_point() and not labels.is_complex()
        if rows and (not whole or labels.dtype == torch.bool):
            raise ValueError(
                f'{name}: labels of {labels.dtype}; valid: class indices of a type of whole '
                'numbers, such as torch.int64'
            )
        labels = labels.long()
        # Where nothing has to wait for it: by NumPy, which reads the memory as it is.
        plain = type(labels) is Tensor and labels.device.type == 'cpu'
        if rows and plain and not torch.compiler.is_compiling():
            values = labels.numpy()
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= classes:
                raise ValueError(
                    f'{name}: the label {low if low < 0 else high} for logits of {classes} '
                    f'classes; valid: 0 to {classes - 1}, and counted=... for rows that have no '
                    'label'
                )
        return labels

    def reduce(
        self,
        rows: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction: str | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Reduce values per row as every loss of MMDetection does, but 0 for no rows.

        Args:
            rows (Tensor): (N,).
            weight, avg_factor, reduction, counted: See :meth:`forward`.

        Returns:
            Tensor: A scalar, or (N,) for the reduction ``'none'``.

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
        return rows.sum() / self.count(rows, counted)

    def count(self, rows: Tensor, counted: Tensor | None = None) -> int | Tensor:
        """What the mean over the rows is divided by, at least 1.

        Args:
            rows (Tensor): (N, ...).
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.

        Returns:
            int | Tensor: Their number; in distributed training the mean over the ranks.
        """
        if not self.training or get_world_size() == 1:
            return count_rows(rows, counted)
        number = torch.full((), len(rows), device=rows.device) if counted is None else counted.sum()
        return mean_over_ranks(number)


def _in_float(per_row: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A ``per_row`` that sees neither half precision nor a teacher with a gradient."""

    @functools.wraps(per_row)
    def in_float(
        self: LogitLoss, student_logits: Tensor, teacher_logits: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        ours, its = student_logits, teacher_logits.detach()
        ours = ours.float() if ours.dtype in HALF else ours
        its = its.float() if its.dtype in HALF else its
        if self.bounds_logits:
            ours, its = bounded(ours), bounded(its)
        return per_row(self, ours, its, *args, **kwargs)

    return in_float


def count_rows(rows: Tensor, counted: Tensor | None = None) -> int | Tensor:
    """How many of the rows (N, ...) count, and 1 where none does; see :meth:`LogitLoss.count`."""
    return max(rows.shape[0], 1) if counted is None else counted.sum().clamp(min=1)


def bounded(logits: Tensor) -> Tensor:
    """Logits of at most :data:`LARGEST` up or down, what is infinite or no number as it is.

    Of any shape, no half precision; what was cut off has no gradient.
    """
    # Differences instead of comparisons, which take a CPU ten times as long: what is finite differs
    # by 0 from the nearest finite number, what is infinite by itself.
    fixed, limit = logits.detach(), torch.finfo(logits.dtype).max
    return F.hardtanh(logits, -LARGEST, LARGEST) - fixed.clamp(-limit, limit).sub_(fixed)
