"""Deformable convolution, v1 (https://arxiv.org/abs/1703.06211) and v2 (1811.11168).

Offsets lie as (y, x) pairs per kernel position within each deformable group, for MMCV and for
torchvision alike, so both versions are torchvision's one op: v1 without a mask, v2 with it.
MMCV's scratch buffers (``columns``, ``ones``) and ``im2col_step`` have no meaning here.
"""

import torch

from .precision import finite_offsets, widen


def deform_conv_forward(
    input,
    weight,
    offset,
    output,
    columns,
    ones,
    kW,
    kH,
    dW,
    dH,
    padW,
    padH,
    dilationW,
    dilationH,
    group,
    deformable_group,
    im2col_step,
):
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
    input,
    offset,
    gradOutput,
    gradInput,
    gradOffset,
    weight,
    columns,
    kW,
    kH,
    dW,
    dH,
    padW,
    padH,
    dilationW,
    dilationH,
    group,
    deformable_group,
    im2col_step,
):
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
    input,
    offset,
    gradOutput,
    gradWeight,
    columns,
    ones,
    kW,
    kH,
    dW,
    dH,
    padW,
    padH,
    dilationW,
    dilationH,
    group,
    deformable_group,
    scale,
    im2col_step,
):
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
    input,
    weight,
    bias,
    ones,
    offset,
    mask,
    output,
    columns,
    kernel_h,
    kernel_w,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    group,
    deformable_group,
    with_bias,
):
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
    input,
    weight,
    bias,
    ones,
    offset,
    mask,
    columns,
    grad_input,
    grad_weight,
    grad_bias,
    grad_offset,
    grad_mask,
    grad_output,
    kernel_h,
    kernel_w,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    group,
    deformable_group,
    with_bias,
):
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


def _forward(input, weight, offset, mask, bias, geometry):
    operands = _operands(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*operands, *geometry, mask is not None)


def _backward(grad_output, input, weight, offset, mask, bias, geometry):
    """Gradients by input, weight, offset, mask and bias."""
    operands = _operands(input, weight, offset, mask, bias)
    return torch.ops.torchvision._deform_conv2d_backward(
        widen(grad_output, like=input), *operands, *geometry, mask is not None
    )


def _operands(input, weight, offset, mask, bias):
    if mask is None:
        mask = input.new_zeros(input.size(0), 1)
    if bias is None:
        bias = input.new_zeros(weight.size(0))
    offset = finite_offsets(offset)
    return [widen(tensor, like=input) for tensor in (input, weight, offset, mask, bias)]
