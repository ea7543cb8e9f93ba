"""RoI align (https://arxiv.org/abs/1703.06870), average mode by torchvision."""

import torch
import torchvision

from .precision import widen

MAX, AVG = 0, 1


def roi_align_forward(
    input,
    rois,
    output,
    argmax_y,
    argmax_x,
    aligned_height,
    aligned_width,
    spatial_scale,
    sampling_ratio,
    pool_mode,
    aligned,
):
    """Pool one feature map over regions, without rounding their borders.

    Args:
        input (Tensor): (N, C, H, W).
        rois (Tensor): (K, 5), image index and x1 y1 x2 y2 in image pixels.
        output (Tensor): (K, C, aligned_height, aligned_width), filled here.
        argmax_y (Tensor): Unused in average mode.
        argmax_x (Tensor): Unused in average mode.
        aligned_height (int): Bins per column.
        aligned_width (int): Bins per row.
        spatial_scale (float): Feature pixels per image pixel.
        sampling_ratio (int): Samples per bin and axis; 0 takes about one per feature pixel.
        pool_mode (int): 1 for the mean of a bin's samples.
        aligned (bool): Whether a pixel's center lies at half a pixel.
    """
    pooled = torchvision.ops.roi_align(
        widen(input),
        widen(rois, like=input),
        (aligned_height, aligned_width),
        spatial_scale,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output,
    rois,
    argmax_y,
    argmax_x,
    grad_input,
    aligned_height,
    aligned_width,
    spatial_scale,
    sampling_ratio,
    pool_mode,
    aligned,
):
    """Gradient of ``roi_align_forward`` by its input, written to ``grad_input``.

    Args:
        grad_output (Tensor): (K, C, aligned_height, aligned_width).
        rois (Tensor): (K, 5).
        grad_input (Tensor): (N, C, H, W), filled here.
        **others: As in ``roi_align_forward``.
    """
    grad = torch.ops.torchvision._roi_align_backward(
        widen(grad_output),
        widen(rois, like=grad_output),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(grad)
