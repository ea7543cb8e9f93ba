"""Sigmoid focal loss (https://arxiv.org/abs/1708.02002), in closed form."""

import torch
import torch.nn.functional as F

from .precision import widen


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha):
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


def sigmoid_focal_loss_backward(input, target, weight, grad_input, gamma, alpha):
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


def _sides(input, target, weight, alpha):
    """+1 at the row's class and -1 elsewhere, and what each entry weighs; both (N, C)."""
    classes = torch.arange(input.size(1), device=input.device)
    positive = target[:, None] == classes
    real = widen(input).dtype
    sign = torch.where(positive, 1.0, -1.0).to(real)
    scale = torch.where(positive, alpha, 1.0 - alpha).to(real)
    if weight.numel():
        row = (positive * widen(weight, like=input)).sum(1, keepdim=True)
        scale = scale * torch.where(positive.any(1, keepdim=True), row, 1.0)
    return sign, scale
