"""How far the teacher is ahead of the student, as a factor."""

import torch
from torch import nn

from .logit_loss import check_fraction, check_positive
from .ranks import sum_over_ranks


class MeasuredTrust(nn.Module):
    """A factor that follows the teacher's right-rate against the student's (ours).

    ``sigmoid(k * (r_t - r_s))``, where r_t and r_s are moving means of how often teacher and
    student are right on the same training rows. A bad teacher fades out, an overtaken one
    steps back. The means are moving sums of right rows over moving sums of rows, so they
    start unbiased with the first batch and a batch counts by its rows. Before any row was
    seen the factor is 0.5. The sums are the same on every rank and in the checkpoint.

    Args:
        gain (float): k. Defaults to 20: ten points of right-rate ahead give 0.88.
        momentum (float): Share of the past that an iteration keeps. Defaults to 0.99.

    Raises:
        ConfigError: A value is out of its range.

    Attributes:
        sums (Tensor): Moving sums of rows, of those where the teacher is right and of those
            where the student is, (3,) float32 buffer.
        log_vars (dict[str, Tensor]): ``trust``, ``teacher_right`` and ``student_right`` of
            the last call.
    """

    def __init__(self, gain=20.0, momentum=0.99):
        super().__init__()
        check_positive(trust_gain=gain)
        check_fraction(trust_momentum=momentum)
        self.gain = gain
        self.momentum = momentum
        self.register_buffer('sums', torch.zeros(3))
        self.log_vars = {}

    @torch.no_grad()
    def forward(self, teacher_right, student_logits, labels, counted=None):
        """Count the rows, in training, and give the factor.

        Args:
            teacher_right (Tensor): Whether the teacher chose the label, (N,) bool.
            student_logits (Tensor): (N, C).
            labels (Tensor): (N,).
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.

        Returns:
            Tensor: The factor, a scalar.
        """
        if self.training:
            self._count(teacher_right, student_logits.argmax(dim=1) == labels, counted)
        rows, teacher, student = self.sums.unbind()
        rows = rows.clamp(min=torch.finfo(rows.dtype).tiny)
        teacher, student = teacher / rows, student / rows
        trust = torch.sigmoid(self.gain * (teacher - student))
        self.log_vars = {'trust': trust, 'teacher_right': teacher, 'student_right': student}
        return trust

    def _count(self, teacher_right, student_right, counted):
        if counted is None:
            counted = torch.ones_like(teacher_right)
        batch = torch.stack([counted, teacher_right & counted, student_right & counted])
        batch = batch.sum(dim=1, dtype=self.sums.dtype)
        sum_over_ranks(batch)
        self.sums.mul_(self.momentum).add_(batch)
