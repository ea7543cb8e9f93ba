"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159), by PyTorch.

MMCV has a fallback of its own, but takes it on the CPU only.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widen


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Weighted sum of samples from feature maps of several sizes.

    Args:
        value (Tensor): (B, sum of H * W, heads, D), the levels one after the other.
        value_spatial_shapes (Tensor): (levels, 2), H and W of each.
        value_level_start_index (Tensor): (levels,), here only for MMCV's sake.
        sampling_locations (Tensor): (B, queries, heads, levels, points, 2), x and y as shares
            of the map's width and height; outside the map lies 0.
        attention_weights (Tensor): (B, queries, heads, levels, points).
        im2col_step (int): Here only for MMCV's sake.

    Returns:
        Tensor: (B, queries, heads * D), of the type of ``value``.
    """
    locations, weights = (
        widen(tensor, like=value) for tensor in (sampling_locations, attention_weights)
    )
    output = _attend(widen(value), value_spatial_shapes.tolist(), locations, weights)
    return output.to(value.dtype)


def ms_deform_attn_backward(
    value: Any,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of ``ms_deform_attn_forward``, each written to its ``grad_`` tensor.

    Args:
        grad_output (Tensor): (B, queries, heads * D).
        **others: As in ``ms_deform_attn_forward``; a gradient has its tensor's shape.
    """
    operands = [
        widen(tensor, like=value).detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = _attend(operands[0], value_spatial_shapes.tolist(), *operands[1:])
    grads = torch.autograd.grad(output, operands, widen(grad_output, like=value))
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)


def _attend(value: Any, shapes: Any, locations: Any, weights: Any) -> Any:
    batch, _, heads, channels = value.shape
    queries = locations.size(1)
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    levels = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in shapes], dim=2)
    output = value.new_zeros(batch * heads, channels, queries)
    weights = weights.transpose(1, 2).flatten(0, 1)
    for index, (level, shape) in enumerate(zip(levels, shapes, strict=True)):
        samples = F.grid_sample(
            level.unflatten(2, shape), grid[:, :, index], padding_mode='zeros', align_corners=False
        )
        output = output + (samples * weights[:, None, :, index]).sum(-1)
    return output.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).flatten(2)
