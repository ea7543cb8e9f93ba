"""Deformable convolution, v1 (https://arxiv.org/abs/1703.06211) and v2 (1811.11168).

Offsets lie as (y, x) pairs per kernel position within each deformable group, for MMCV and for
torchvision alike, so both versions are torchvision's one op: v1 without a mask, v2 with it.
MMCV's scratch buffers (``columns``, ``ones``) and ``im2col_step`` have no meaning here.
"""

from typing import Any

import torch
from torch import Tensor

from .precision import finite_offsets, widen


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution v1.

    Args:
        input (Tensor): (N, C, H, W).
        weight (Tensor): (O, C / group, kH, kW).
        offset (Tensor): (N, deformable_group * kH * kW * 2, H', W'), in feature pixels.
        output (Tensor): (N, O, H', W'), filled here.
        kW, kH (int): Size of the kernel, here only for MMCV's sake.
        dW, dH (int): Stride.
        padW, padH (int): Zero padding.
        dilationW, dilationH (int): Dilation.
        group (int): Groups of channels.
        deformable_group (int): Groups of channels with offsets of their own.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_forward(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of ``deform_conv_forward`` by input and offset.

    Args:
        gradOutput (Tensor): (N, O, H', W').
        gradInput (Tensor): (N, C, H, W), filled here.
        gradOffset (Tensor): The shape of ``offset``, filled here.
        **others: As in ``deform_conv_forward``.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _backward(gradOutput, input, weight, offset, None, None, geometry)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of ``deform_conv_forward`` by the weight, times ``scale``.

    MMCV hands over no weight here; the gradient by it does not depend on its values.

    Args:
        gradOutput (Tensor): (N, O, H', W').
        gradWeight (Tensor): (O, C / group, kH, kW); the gradient is added to it.
        scale (float): Factor of the gradient.
        **others: As in ``deform_conv_forward``.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    weight = torch.zeros_like(gradWeight)
    grads = _backward(gradOutput, input, weight, offset, None, None, geometry)
    gradWeight.add_(grads[1].to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Deformable convolution v2: v1 whose samples are weighed by a mask.

    Args:
        input (Tensor): (N, C, H, W).
        weight (Tensor): (O, C / group, kernel_h, kernel_w).
        bias (Tensor): (O,), read where ``with_bias``.
        offset (Tensor): (N, deformable_group * kernel_h * kernel_w * 2, H', W').
        mask (Tensor): (N, deformable_group * kernel_h * kernel_w, H', W').
        output (Tensor): (N, O, H', W'), filled here.
        kernel_h, kernel_w (int): Size of the kernel, here only for MMCV's sake.
        stride_h, stride_w (int): Stride.
        pad_h, pad_w (int): Zero padding.
        dilation_h, dilation_w (int): Dilation.
        group (int): Groups of channels.
        deformable_group (int): Groups of channels with offsets and masks of their own.
        with_bias (bool): Whether there is a bias.
    """
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    bias = bias if with_bias else None
    output.copy_(_forward(input, weight, offset, mask, bias, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of ``modulated_deform_conv_forward``, each written to its ``grad_`` tensor.

    Args:
        grad_output (Tensor): (N, O, H', W').
        **others: As in ``modulated_deform_conv_forward``; a gradient has its tensor's shape.
    """
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _backward(
        grad_output, input, weight, offset, mask, bias if with_bias else None, geometry
    )
    targets = (grad_input, grad_weight, grad_offset, grad_mask)
    for target, grad in zip(targets, grads, strict=False):
        target.copy_(grad)
    if with_bias:
        grad_bias.copy_(grads[4])


def _forward(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, geometry: Any
) -> Any:
    operands = _operands(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*operands, *geometry, mask is not None)


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    geometry: Any,
) -> Any:
    """Gradients by input, weight, offset, mask and bias."""
    operands = _operands(input, weight, offset, mask, bias)
    return torch.ops.torchvision._deform_conv2d_backward(
        widen(grad_output, like=input), *operands, *geometry, mask is not None
    )


def _operands(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor
) -> list[Any]:
    if mask is None:
        mask = input.new_zeros(input.size(0), 1)
    if bias is None:
        bias = input.new_zeros(weight.size(0))
    offset = finite_offsets(offset)
    return [widen(tensor, like=input) for tensor in (input, weight, offset, mask, bias)]
