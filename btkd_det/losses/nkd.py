"""Normalized knowledge distillation."""

from torch import Tensor

from ..checks import check_not_negative, check_positive
from ..registry import MODELS
from .class_split import without
from .logit_loss import LogitLoss


def normalized_per_row(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, gamma: float, temperature: float
) -> Tensor:
    """``-p_t[y] log p_s[y] - gamma * T^2 * sum_i q_t[i] log q_s[i]``.

    p is the softmax at temperature 1, q the softmax at T over all classes but the label. It is
    a cross entropy, not a divergence: equal logits do not give 0. With two classes q is 1 and
    its part is 0.

    Args:
        student_logits (Tensor): (N, C).
        teacher_logits (Tensor): (N, C), without a gradient.
        labels (Tensor): (N,).
        gamma (float): Weight of the non-target part.
        temperature (float): T, of that part alone.

    Returns:
        Tensor: (N,).
    """
    index = labels.unsqueeze(1)
    log_student = student_logits.log_softmax(dim=1).gather(1, index).squeeze(1)
    target = teacher_logits.softmax(dim=1).gather(1, index).squeeze(1) * log_student
    log_others = without(student_logits / temperature, labels).log_softmax(dim=1)
    others = without(teacher_logits / temperature, labels).softmax(dim=1) * log_others
    return -target - gamma * temperature**2 * others.sum(dim=1)


@MODELS.register_module()
class NKDLoss(LogitLoss):
    """`From Knowledge Distillation to Self-Knowledge Distillation
    <https://arxiv.org/abs/2303.13005>`_: the non-target logits are normalized.

    Args:
        gamma (float): Weight of the non-target part. Defaults to 1.5.
        temperature (float): Of the non-target part. Defaults to 1.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import NKDLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = NKDLoss(gamma=1.5, temperature=1.0)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '1.3604'
    """

    independent_rows = True

    def __init__(
        self, gamma: float = 1.5, temperature: float = 1.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(loss_weight)
        check_not_negative(gamma=gamma)
        check_positive(temperature=temperature)
        self.gamma = gamma
        self.temperature = temperature

    def per_row(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Target plus non-target part; see :meth:`LogitLoss.per_row`."""
        return normalized_per_row(
            student_logits, teacher_logits, labels, self.gamma, self.temperature
        )
