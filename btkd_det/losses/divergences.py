"""Divergences of distributions, and the precision that they are computed in."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

HALF = (torch.float16, torch.bfloat16)
#: Logits beyond it, up or down, count as this much: differences and squares of larger ones are
#: beyond float32.
LARGEST = 1e15


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


def binary_kl(student_logits: Tensor, teacher_logits: Tensor, focus: float = 0.0) -> Tensor:
    """``KL(sigmoid(z_t) || sigmoid(z_s))``, of two distributions over yes and no.

    Args:
        student_logits (Tensor): Any shape.
        teacher_logits (Tensor): The same shape; no gradient goes there.
        focus (float): Each value is weighed by ``|p_s - p_t| ** focus``, which has no gradient.
            Defaults to 0, the divergence alone.

    Returns:
        Tensor: The same shape; at most :data:`LARGEST` for any finite logits, no number where one
        is infinite.
    """
    return _BinaryKL.apply(student_logits, teacher_logits, focus)


class _BinaryKL(torch.autograd.Function):
    """As a function of its own: the formula takes one logarithm, and its gradient is known.

    A dense head has millions of these. With the answers named so that the teacher's no is the
    likelier one, ``KL = softplus(z_s) - softplus(z_t) + p_t (z_t - z_s)``, and both softplus
    together are a positive part and one logarithm (ours).
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, focus: float) -> Tensor:
        flip = torch.copysign(teacher.new_ones(()), teacher).neg_()
        ours, theirs = flip.mul_(student), teacher.abs().neg_()
        odds = theirs.exp()
        above = odds + 1
        ratio = ours.abs().neg_().exp_().sub_(odds).div_(above)
        value = _log1p(ratio).add_(ours.clamp(min=0))
        yes = odds.div_(above)
        value.addcmul_(yes, theirs).addcmul_(yes, ours, value=-1)
        # What is infinite stays seen: 0 times it is no number.
        value.clamp_(max=LARGEST).add_(ours, alpha=0)
        if focus or ctx.needs_input_grad[0]:
            slope = student.sigmoid().sub_(teacher.sigmoid())
            if focus:
                factor = slope.abs()
                factor = factor if focus == 1 else factor.pow_(focus)
                value.mul_(factor)
                slope.mul_(factor)
            ctx.save_for_backward(slope)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None


def _log1p(x: Tensor) -> Tensor:
    """``log(1 + x)``, of a tensor that may be changed.

    PyTorch's own takes a CPU ten times as long as a logarithm; this one corrects the logarithm of
    the rounded sum by what the rounding took (Kahan).
    """
    if x.device.type != 'cpu':
        return x.log1p()
    rounded = x + 1
    # 0 / 0 where nothing of x is left of the sum: there the logarithm is x.
    factor = x.div(rounded - 1).nan_to_num_(nan=1.0)
    small = rounded == 1
    return torch.where(small, x, rounded.log_().mul_(factor))
