"""Hinton's knowledge distillation."""

from torch import Tensor
from torch.nn import functional as F

from ..checks import check_positive
from ..registry import MODELS
from .logit_loss import LogitLoss


@MODELS.register_module()
class KDLoss(LogitLoss):
    """`Distilling the Knowledge in a Neural Network <https://arxiv.org/abs/1503.02531>`_.

    The factor T^2 is included, so that gradients keep their size as T changes, and the
    divergence is summed over classes. MMDetection's ``KnowledgeDistillationKLDivLoss`` takes
    the mean over them: it is C times smaller.

    Args:
        temperature (float): Defaults to 4.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import KDLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = KDLoss(temperature=4.0)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '0.4913'
    """

    needs_labels = False

    independent_rows = True

    def __init__(self, temperature: float = 4.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def per_row(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """``T^2 * KL`` of each row; see :meth:`LogitLoss.per_row`."""
        return kl_of_logits(student_logits, teacher_logits, self.temperature)


def kl_of_logits(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``T^2 * KL(softmax(z_t / T) || softmax(z_s / T))``, summed over classes.

    Args:
        student_logits (Tensor): (N, C), no half precision.
        teacher_logits (Tensor): (N, C), no half precision.
        temperature (float): T.

    Returns:
        Tensor: (N,).
    """
    log_student = (student_logits / temperature).log_softmax(dim=1)
    log_teacher = (teacher_logits / temperature).log_softmax(dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction='none', log_target=True).sum(dim=1)
    return divergence * temperature**2
