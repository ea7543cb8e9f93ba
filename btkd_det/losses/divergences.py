"""Divergences of probability distributions, from their logarithms or logits."""

from torch import Tensor
from torch.nn import functional as F


def kl_divergence(log_student: Tensor, log_teacher: Tensor, dim: int = 1) -> Tensor:
    """``KL(teacher || student)`` along one dimension.

    Args:
        log_student (Tensor): Log-probabilities, such as (N, C).
        log_teacher (Tensor): Log-probabilities of the same shape.
        dim (int): Of the classes. Defaults to 1.

    Returns:
        Tensor: Without that dimension.
    """
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=dim)


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
    return kl_divergence(log_student, log_teacher) * temperature**2


def binary_kl(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """``KL(sigmoid(z_t) || sigmoid(z_s))``, of two distributions over yes and no.

    Args:
        student_logits (Tensor): Any shape.
        teacher_logits (Tensor): The same shape.

    Returns:
        Tensor: The same shape; finite for any finite logits.
    """
    gap_yes = F.logsigmoid(teacher_logits) - F.logsigmoid(student_logits)
    gap_no = F.logsigmoid(-teacher_logits) - F.logsigmoid(-student_logits)
    yes = teacher_logits.sigmoid()
    return yes * gap_yes + (1 - yes) * gap_no
