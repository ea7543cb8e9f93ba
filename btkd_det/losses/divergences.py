"""Divergences of distributions, and the precision that they are computed in."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

HALF = (torch.float16, torch.bfloat16)


def as_float(*tensors: Tensor) -> Any:
    """The tensors in float32, or as they are if they are that or float64 already.

    Args:
        *tensors (Tensor): Floating point.

    Returns:
        Tensor | tuple[Tensor]: One for one.
    """
    cast = tuple([t.float() if t.dtype in HALF else t for t in tensors])
    return cast[0] if len(cast) == 1 else cast


def kl_divergence(log_student: Tensor, log_teacher: Tensor, dim: int = 1) -> Tensor:
    """``KL(teacher || student)`` along one dimension.

    Args:
        log_student (Tensor): Log-probabilities, such as (N, C).
        log_teacher (Tensor): Log-probabilities of the same shape.
        dim (int): Of the classes. Defaults to 1.

    Returns:
        Tensor: Without that dimension.
    """
    return F.kl_div(log_student, log_teacher, reduction='none', log_target=True).sum(dim=dim)


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
