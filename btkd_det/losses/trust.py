"""How far the teacher is ahead of the student, as a factor."""

import torch
from torch import Tensor, nn

from ..checks import check_choice, check_fraction, check_positive
from .ranks import sum_over_ranks

FORMS = ('measured', 'relative')
#: Share of errors below which teacher and student count as equally good.
LEAST_ERROR = 1e-3


class MeasuredTrust(nn.Module):
    """A factor that follows how often the teacher is right against the student (ours).

    r_t and r_s are moving means of how often teacher and student are right on the same training
    rows. A bad teacher fades out, an overtaken one steps back.

    * ``'measured'``: ``sigmoid(k * (r_t - r_s))``, the difference of the rates.
    * ``'relative'``: ``sigmoid(k * (1 - e_t / e_s - margin))``, where e = 1 - r / (1 - noise) is
      the share of errors beside what wrong labels count as errors. Early in training any teacher
      is ahead of the student; this one has to be ahead by a share of the student's errors, so
      that it steps back before it holds the student back.

    The means are moving sums of right rows over moving sums of rows, so they start unbiased with
    the first batch and a batch counts by its rows. Before any row was seen both are as if
    teacher and student erred alike. The sums are the same on every rank and in the checkpoint.

    Args:
        gain (float): k. Defaults to 20: measured, ten points of right-rate ahead give 0.88.
        momentum (float): Share of the past that an iteration keeps. Defaults to 0.99.
        form (str): ``'measured'`` or ``'relative'``. Defaults to ``'measured'``.
        margin (float): Of ``'relative'``. Defaults to 0.2.

    Raises:
        ConfigError: A value is out of its range.

    Attributes:
        sums (Tensor): Moving sums of rows, of those where the teacher is right and of those
            where the student is, (3,) float32 buffer.
        log_vars (dict[str, Tensor]): ``trust``, ``teacher_right`` and ``student_right`` of
            the last call.
    """

    sums: Tensor

    def __init__(
        self,
        gain: float = 20.0,
        momentum: float = 0.99,
        form: str = 'measured',
        margin: float = 0.2,
    ) -> None:
        super().__init__()
        check_positive(trust_gain=gain)
        check_fraction(trust_momentum=momentum, trust_margin=margin)
        check_choice('trust', form, FORMS)
        self.gain = gain
        self.form = form
        self.margin = margin
        self.momentum = momentum
        self.register_buffer('sums', torch.zeros(3))
        self.log_vars: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(
        self,
        teacher_right: Tensor,
        student_right: Tensor,
        counted: Tensor | None = None,
        label_noise: Tensor | float = 0.0,
    ) -> Tensor:
        """Count the rows, in training, and give the factor.

        Args:
            teacher_right (Tensor): Whether the teacher chose the label, (N,) bool.
            student_right (Tensor): Whether the student did, (N,) bool.
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.
            label_noise (Tensor | float): Share of wrong labels, for ``'relative'``. Defaults to 0.

        Returns:
            Tensor: The factor, a scalar.
        """
        if self.training:
            self._count(teacher_right, student_right, counted)
        rates = self.sums[1:] / self.sums[0].clamp(min=torch.finfo(self.sums.dtype).tiny)
        teacher, student = rates.unbind()
        if self.form == 'measured':
            lead = teacher - student
        else:
            errors = (1 - rates / (1 - label_noise)).clamp(min=LEAST_ERROR)
            lead = (1 - self.margin) - errors[0] / errors[1]
        trust = torch.sigmoid(self.gain * lead)
        self.log_vars = {'trust': trust, 'teacher_right': teacher, 'student_right': student}
        return trust

    def _count(self, teacher_right: Tensor, student_right: Tensor, counted: Tensor | None) -> None:
        rows = torch.stack([torch.ones_like(teacher_right), teacher_right, student_right])
        if counted is not None:
            rows = rows & counted
        batch = rows.sum(dim=1, dtype=self.sums.dtype)
        self.sums.mul_(self.momentum).add_(sum_over_ranks(batch))
