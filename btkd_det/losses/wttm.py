"""Weighted transformed teacher matching."""

from torch import Tensor

from ..checks import check_not_negative, check_positive
from ..registry import MODELS
from .divergences import kl_divergence
from .logit_loss import LogitLoss


def weighted_matching_per_row(
    student_logits: Tensor, teacher_logits: Tensor, gamma: float
) -> Tensor:
    """``norm * KL(p_t^gamma / norm || p_s)`` with ``norm = sum_i p_t[i]^gamma``.

    Args:
        student_logits (Tensor): (N, C), used at temperature 1.
        teacher_logits (Tensor): (N, C), without a gradient.
        gamma (float): The power, the inverse of the teacher's temperature.

    Returns:
        Tensor: (N,).
    """
    log_power = teacher_logits.log_softmax(dim=1) * gamma
    log_norm = log_power.logsumexp(dim=1, keepdim=True)
    divergence = kl_divergence(student_logits.log_softmax(dim=1), log_power - log_norm)
    return divergence * log_norm.squeeze(1).exp()


@MODELS.register_module()
class WTTMLoss(LogitLoss):
    """`Knowledge Distillation Based on Transformed Teacher Matching
    <https://arxiv.org/abs/2402.11148>`_, the weighted form: smooth rows count more.

    Args:
        gamma (float): Power of the teacher's probabilities. Defaults to 0.3.
        beta (float): Factor of the whole. Defaults to 1.5.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import WTTMLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = WTTMLoss(gamma=0.3, beta=1.5)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '0.4006'
    """

    needs_labels = False

    independent_rows = True

    def __init__(self, gamma: float = 0.3, beta: float = 1.5, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_positive(gamma=gamma)
        check_not_negative(beta=beta)
        self.gamma = gamma
        self.beta = beta

    def per_row(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """``beta * norm * KL``; see :meth:`LogitLoss.per_row`."""
        return weighted_matching_per_row(student_logits, teacher_logits, self.gamma) * self.beta
