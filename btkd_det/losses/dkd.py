"""Decoupled knowledge distillation."""

from torch import Tensor

from ..checks import check_fraction, check_not_negative, check_positive
from ..progress import training_progress
from ..registry import MODELS
from .class_split import against_rest, without
from .divergences import binary_kl, kl_divergence
from .logit_loss import LogitLoss


def decoupled_kl_per_row(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
) -> Tensor:
    """``T^2 * (alpha * TCKD + beta * NCKD)``.

    TCKD is the divergence between (label, all others); NCKD the one among the others. With
    two classes there is one other, and NCKD is 0.

    Args:
        student_logits (Tensor): (N, C).
        teacher_logits (Tensor): (N, C), without a gradient.
        labels (Tensor): (N,).
        alpha (float): Weight of TCKD.
        beta (float): Weight of NCKD.
        temperature (float): T.

    Returns:
        Tensor: (N,).
    """
    student, teacher = student_logits / temperature, teacher_logits / temperature
    student_rest, teacher_rest = without(student, labels), without(teacher, labels)
    target = binary_kl(
        against_rest(student, student_rest, labels), against_rest(teacher, teacher_rest, labels)
    )
    others = kl_divergence(student_rest.log_softmax(dim=1), teacher_rest.log_softmax(dim=1))
    return (alpha * target + beta * others) * temperature**2


@MODELS.register_module()
class DKDLoss(LogitLoss):
    """`Decoupled Knowledge Distillation <https://arxiv.org/abs/2203.08679>`_.

    Its authors let the weight grow linearly over the first 20 of 240 epochs on CIFAR-100; that
    is ``warmup=20 / 240`` here, and off by default.

    Args:
        alpha (float): Weight of the target part. Defaults to 1.0.
        beta (float): Weight of the non-target part. Defaults to 8.0.
        temperature (float): Defaults to 4.0.
        loss_weight (float): Defaults to 1.0.
        warmup (float): Share of the training over which ``loss_weight`` grows linearly from
            0. Defaults to 0.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import DKDLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = DKDLoss(alpha=1.0, beta=8.0, temperature=4.0)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '2.7292'
    """

    independent_rows = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        loss_weight: float = 1.0,
        *,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(loss_weight)
        check_not_negative(alpha=alpha, beta=beta)
        check_positive(temperature=temperature)
        check_fraction(warmup=warmup)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.warmup = warmup

    def per_row(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """``T^2 * (alpha * TCKD + beta * NCKD)``; see :meth:`LogitLoss.per_row`."""
        return decoupled_kl_per_row(
            student_logits, teacher_logits, labels, self.alpha, self.beta, self.temperature
        )

    def scale(self, progress: float | Tensor | None = None) -> float | Tensor:
        """``loss_weight``, less during warm-up; see :meth:`LogitLoss.scale`."""
        if not self.warmup:
            return self.loss_weight
        done = (training_progress() if progress is None else progress) / self.warmup
        return self.loss_weight * (min(done, 1.0) if isinstance(done, float) else done.clamp(max=1))
