"""Focal loss (https://arxiv.org/abs/1708.02002), sigmoid and softmax, in closed form."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widen


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Sigmoid focal loss of each class of each row.

    With z = x for the row's class and -x for every other one, and a = alpha or 1 - alpha:
    ``-a (1 - sigmoid(z))^gamma log(sigmoid(z))``.

    Args:
        input (Tensor): Logits x, (N, C).
        target (Tensor): Class of each row, (N,) int64; C (or any number outside 0..C-1) means
            background, a row without a positive class.
        weight (Tensor): Weight of a row by its class, (C,), or empty; background counts 1.
        output (Tensor): (N, C), filled here.
        gamma (float): Focusing exponent.
        alpha (float): Share of the positive class.
    """
    sign, scale = _sides(input, target, weight, alpha)
    z = sign * widen(input)
    output.copy_(-scale * torch.sigmoid(-z).pow(gamma) * F.logsigmoid(z))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of ``sigmoid_focal_loss_forward`` by each logit, written to ``grad_input``.

    Args:
        input (Tensor): Logits, (N, C).
        target (Tensor): (N,) int64.
        weight (Tensor): (C,) or empty.
        grad_input (Tensor): (N, C), filled here.
        gamma (float): Focusing exponent.
        alpha (float): Share of the positive class.
    """
    sign, scale = _sides(input, target, weight, alpha)
    z = sign * widen(input)
    p, q = torch.sigmoid(z), torch.sigmoid(-z)
    grad_input.copy_(sign * scale * q.pow(gamma) * (gamma * p * F.logsigmoid(z) - q))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Softmax focal loss of each row, ``-alpha (1 - p)^gamma log(p)`` for its class.

    Args:
        input (Tensor): Probabilities, (N, C).
        target (Tensor): Class of each row, (N,) int64; a row with a negative one counts 0.
        weight (Tensor): Weight of a row by its class, (C,), or empty.
        output (Tensor): (N,), filled here.
        gamma (float): Focusing exponent.
        alpha (float): Factor.
    """
    p, scale = _target_probability(input, target, weight, alpha)
    output.copy_(-scale * (1 - p).pow(gamma) * p.log())


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of ``softmax_focal_loss_forward`` by each logit, written to ``grad_input``.

    Args:
        input (Tensor): Probabilities, (N, C).
        target (Tensor): (N,) int64.
        weight (Tensor): (C,) or empty.
        buff (Tensor): (N,), MMCV's scratch; filled with the factor of each row.
        grad_input (Tensor): (N, C), filled here.
        gamma (float): Focusing exponent.
        alpha (float): Factor.
    """
    p, scale = _target_probability(input, target, weight, alpha)
    # gamma (1 - p)^(gamma - 1) has a pole at p = 1 for gamma < 1, where p log(p) is 0.
    focus = gamma * (1 - p).clamp(min=torch.finfo(p.dtype).tiny).pow(gamma - 1)
    factor = scale * (focus * p * p.log() - (1 - p).pow(gamma))
    buff.copy_(factor)
    own = torch.zeros_like(grad_input, dtype=p.dtype)
    own.scatter_(1, target.clamp(min=0)[:, None], 1.0)
    grad_input.copy_(factor[:, None] * (own - widen(input)))


def _target_probability(input: Tensor, target: Any, weight: Tensor, alpha: Any) -> tuple:
    """Probability of each row's class, kept off 0, and what the row weighs; both (N,)."""
    label = target.clamp(min=0)
    p = widen(input).gather(1, label[:, None])[:, 0]
    scale = alpha * (target >= 0).to(p.dtype)
    if weight.numel():
        scale = scale * widen(weight, like=input)[label]
    return p.clamp(min=torch.finfo(torch.float32).tiny), scale


def _sides(input: Tensor, target: Any, weight: Tensor, alpha: Any) -> tuple:
    """+1 at the row's class and -1 elsewhere, and what each entry weighs; both (N, C)."""
    classes = torch.arange(input.size(1), device=input.device)
    own = (target[:, None] == classes).to(widen(input).dtype)
    scale = alpha * own + (1 - alpha) * (1 - own)
    if weight.numel():
        background = 1 - own.sum(1, keepdim=True)
        scale = scale * ((own * widen(weight, like=input)).sum(1, keepdim=True) + background)
    return 2 * own - 1, scale
