"""Refined logit distillation."""

from torch import Tensor

from ..checks import check_not_negative, check_positive
from ..registry import MODELS
from .class_split import against_rest, without
from .divergences import binary_kl, kl_divergence
from .logit_loss import LogitLoss


def refined_per_row(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
    confidence_temperature: float,
) -> Tensor:
    """``alpha * A^2 * SCD + beta * T^2 * MCD``.

    SCD: the teacher's confidence in its choice, right or wrong, is what the student should
    have in the label. MCD: the divergence among the classes that the teacher ranks below the
    label; it is 0 where there are none.

    Args:
        student_logits (Tensor): (N, C).
        teacher_logits (Tensor): (N, C), without a gradient.
        labels (Tensor): (N,).
        alpha (float): Weight of SCD.
        beta (float): Weight of MCD.
        temperature (float): T.
        confidence_temperature (float): A.

    Returns:
        Tensor: (N,).
    """
    student = student_logits / confidence_temperature
    teacher = teacher_logits / confidence_temperature
    predicted = teacher_logits.argmax(dim=1)
    confidence = binary_kl(
        against_rest(student, without(student, labels), labels),
        against_rest(teacher, without(teacher, predicted), predicted),
    )
    rivals = teacher_logits >= teacher_logits.gather(1, labels.unsqueeze(1))
    masked = kl_divergence(
        without(student_logits / temperature, rivals).log_softmax(dim=1),
        without(teacher_logits / temperature, rivals).log_softmax(dim=1),
    )
    return alpha * confidence_temperature**2 * confidence + beta * temperature**2 * masked


@MODELS.register_module()
class RLDLoss(LogitLoss):
    """`Knowledge Distillation with Refined Logits <https://arxiv.org/abs/2408.07703>`_.

    The other answer to a wrong teacher: nothing is rewritten, but what contradicts the label
    is left out.

    Args:
        alpha (float): Weight of the confidence part. Defaults to 1.0.
        beta (float): Weight of the part below the label. Defaults to 8.0.
        temperature (float): Of the part below the label. Defaults to 4.0.
        confidence_temperature (float): Of the confidence part. Defaults to 4.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import RLDLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = RLDLoss(alpha=1.0, beta=8.0)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '0.6783'
    """

    independent_rows = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        confidence_temperature: float = 4.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        check_not_negative(alpha=alpha, beta=beta)
        check_positive(temperature=temperature, confidence_temperature=confidence_temperature)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.confidence_temperature = confidence_temperature

    def per_row(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Confidence plus masked part; see :meth:`LogitLoss.per_row`."""
        return refined_per_row(
            student_logits,
            teacher_logits,
            labels,
            self.alpha,
            self.beta,
            self.temperature,
            self.confidence_temperature,
        )
