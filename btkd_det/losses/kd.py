"""Hinton's knowledge distillation."""

from ..registry import MODELS
from .logit_loss import LogitLoss, as_float, check_positive


def kl_per_row(student_logits, teacher_logits, temperature):
    """``T^2 * KL(softmax(z_t / T) || softmax(z_s / T))``, summed over classes.

    Args:
        student_logits (Tensor): (N, C).
        teacher_logits (Tensor): (N, C), without a gradient.
        temperature (float): T.

    Returns:
        Tensor: (N,).
    """
    student_logits, teacher_logits = as_float(student_logits, teacher_logits.detach())
    log_student = (student_logits / temperature).log_softmax(dim=1)
    log_teacher = (teacher_logits / temperature).log_softmax(dim=1)
    return kl_divergence(log_student, log_teacher) * temperature**2


def kl_divergence(log_student, log_teacher):
    """``KL(teacher || student)`` of each row.

    Args:
        log_student (Tensor): Log-probabilities, (N, C).
        log_teacher (Tensor): Log-probabilities, (N, C).

    Returns:
        Tensor: (N,).
    """
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)


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
    """

    needs_labels = False

    def __init__(self, temperature=4.0, loss_weight=1.0):
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def per_row(self, student_logits, teacher_logits, labels=None):
        """``T^2 * KL`` of each row; see :meth:`LogitLoss.per_row`."""
        return kl_per_row(student_logits, teacher_logits, self.temperature)
