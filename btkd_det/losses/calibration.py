"""A teacher as sure of itself as it is right."""

import math

import torch
from torch import Tensor, nn

from .ranks import sum_over_ranks

#: The scale stays within this factor of 1, both ways.
LARGEST_SCALE = 10.0
#: Of the longest step of the scale's logarithm.
LARGEST_STEP = 0.5
#: Share of a Newton step that an iteration takes, once there have been many.
LEAST_RATE = 0.02


class TeacherCalibration(nn.Module):
    """Scales the teacher's logits so that they fit the labels best (ours).

    A teacher that learned from noisy labels, or was stopped early, spreads its probabilities
    wider than it errs; as a target it teaches doubt. Temperature scaling (Guo et al., 2017,
    arXiv 1706.04599) finds the one factor ``a`` under which ``softmax(a z)`` gives the labels the
    largest likelihood. Here it is found as training goes, by a Newton step on the logarithm of
    ``a`` in each iteration: a full one at first, then 1/t of it, at least 0.02. A penalty
    ``strength / 2 * log(a)^2`` keeps a teacher that is right on nearly every row, whose best
    factor would have no limit, as it is. The factor is the same on every rank and in the
    checkpoint.

    Args:
        strength (float): Of the penalty, beside a mean over rows. Defaults to 0.1.

    Attributes:
        log_scale (Tensor): log(a), a buffer without dimensions, 0 at first.
        steps (Tensor): Iterations so far, a buffer without dimensions.
        last_scale (Tensor): a of the last call, without dimensions.
    """

    log_scale: Tensor
    steps: Tensor
    last_scale: Tensor

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer('log_scale', torch.zeros(()))
        self.register_buffer('steps', torch.zeros(()))

    @torch.no_grad()
    def forward(
        self, teacher_logits: Tensor, labels: Tensor, counted: Tensor | None = None
    ) -> Tensor:
        """Take a step, in training, and scale.

        Args:
            teacher_logits (Tensor): (N, C), no half precision.
            labels (Tensor): (N,).
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.

        Returns:
            Tensor: The logits times a, (N, C).
        """
        if self.training:
            self._step(teacher_logits, labels, counted)
        self.last_scale = self.scale()
        return teacher_logits * self.last_scale.to(teacher_logits.dtype)

    def scale(self) -> Tensor:
        """a, without dimensions."""
        return self.log_scale.exp()

    def _step(self, teacher_logits: Tensor, labels: Tensor, counted: Tensor | None) -> None:
        logits = teacher_logits * self.scale().to(teacher_logits.dtype)
        probs = logits.softmax(dim=1)
        gaps = logits.sub_((probs * logits).sum(dim=1, keepdim=True))
        lead = gaps.gather(1, labels.unsqueeze(1)).squeeze(1)
        variance = probs.mul_(gaps.square_()).sum(dim=1)
        rows = torch.stack([torch.ones_like(lead), lead, variance])
        # One row that is not finite would leave no scale for ever; its variance is no number.
        left_out = variance != variance
        rows = rows.masked_fill(left_out if counted is None else left_out | ~counted, 0)
        sums = sum_over_ranks(rows.sum(dim=1).to(self.log_scale.dtype))
        number, lead, variance = sums.unbind()
        self.steps.add_(number.clamp(max=1))
        # Nothing without rows: the penalty alone would pull the scale back.
        penalty = self.strength * number
        curvature = (penalty + variance).clamp_(min=torch.finfo(variance.dtype).tiny)
        step = torch.addcmul(lead, penalty, self.log_scale, value=-1) / curvature
        step = (step / self.steps.clamp(1, 1 / LEAST_RATE)).clamp_(-LARGEST_STEP, LARGEST_STEP)
        limit = math.log(LARGEST_SCALE)
        self.log_scale.add_(step).clamp_(-limit, limit)
