"""RoI align (https://arxiv.org/abs/1703.06870).

The mean of a bin's samples is torchvision's op. The maximum, which hardly a model asks for,
is written out here region by region.
"""

import math
from typing import Any

import torch
import torchvision
from torch import Tensor

from .precision import finite_rois, widen

MAX, AVG = 0, 1


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool a feature map over regions, without rounding their borders.

    Args:
        input (Tensor): (N, C, H, W).
        rois (Tensor): (K, 5), image index and x1 y1 x2 y2 in image pixels.
        output (Tensor): (K, C, aligned_height, aligned_width), filled here.
        argmax_y (Tensor): Row of the largest sample within its bin's grid, -1 in a bin without
            samples. The shape of ``output``; filled in maximum mode, else unused. MMCV keeps
            the sample's coordinate there, which half types would round; nobody else reads it.
        argmax_x (Tensor): Its column, likewise.
        aligned_height (int): Bins per column.
        aligned_width (int): Bins per row.
        spatial_scale (float): Feature pixels per image pixel.
        sampling_ratio (int): Samples per bin and axis; 0 takes about one per feature pixel.
        pool_mode (int): 0 for the largest sample of a bin (0 in a bin without samples), 1 for
            the mean.
        aligned (bool): Whether the center of a pixel lies at half a pixel.
    """
    features, rois = widen(input), widen(finite_rois(rois), like=input)
    bins = (aligned_height, aligned_width)
    if pool_mode == AVG:
        pooled = torchvision.ops.roi_align(
            features, rois, bins, spatial_scale, sampling_ratio, aligned
        )
        output.copy_(pooled)
        return
    for k, roi in enumerate(rois.tolist()):
        samples = _Samples(roi, bins, spatial_scale, sampling_ratio, aligned)
        values, row, column = samples.largest(features[int(roi[0])])
        output[k], argmax_y[k], argmax_x[k] = values, row, column


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: Any,
    aligned: bool,
) -> None:
    """Gradient of ``roi_align_forward`` by its input, written to ``grad_input``.

    Args:
        grad_output (Tensor): (K, C, aligned_height, aligned_width).
        rois (Tensor): (K, 5).
        argmax_y (Tensor): As ``roi_align_forward`` filled it.
        argmax_x (Tensor): As ``roi_align_forward`` filled it.
        grad_input (Tensor): (N, C, H, W), filled here.
        **others: As in ``roi_align_forward``.
    """
    grad, rois = widen(grad_output), widen(finite_rois(rois), like=grad_output)
    bins = (aligned_height, aligned_width)
    if pool_mode == AVG:
        grad_input.copy_(
            _average_backward(
                grad, rois, bins, grad_input.shape, spatial_scale, sampling_ratio, aligned
            )
        )
        return
    total = torch.zeros_like(grad_input, dtype=grad.dtype)
    for k, roi in enumerate(rois.tolist()):
        samples = _Samples(roi, bins, spatial_scale, sampling_ratio, aligned)
        samples.spread(grad[k], argmax_y[k], argmax_x[k], total[int(roi[0])])
    grad_input.copy_(total)


def _average_backward(
    grad: Any,
    rois: Tensor,
    bins: Any,
    shape: Any,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    if grad.is_cuda and torch.are_deterministic_algorithms_enabled():
        # The op adds up in any order and refuses; torchvision's Python form is slower and exact.
        features = grad.new_zeros(shape, requires_grad=True)
        with torch.enable_grad():
            pooled = torchvision.ops.roi_align(
                features, rois, bins, spatial_scale, sampling_ratio, aligned
            )
        return torch.autograd.grad(pooled, features, grad)[0]
    return torch.ops.torchvision._roi_align_backward(
        grad, rois, spatial_scale, *bins, *shape, sampling_ratio, aligned
    )


class _Samples:
    """Where a region's bins are sampled: per axis, bin x sample, in feature pixels."""

    def __init__(
        self, roi: Any, bins: Any, spatial_scale: float, sampling_ratio: int, aligned: bool
    ) -> None:
        shift = 0.5 if aligned else 0.0
        x1, y1, x2, y2 = (value * spatial_scale - shift for value in roi[1:])
        least = -math.inf if aligned else 1.0
        self.rows = _axis(y1, max(y2 - y1, least), bins[0], sampling_ratio)
        self.columns = _axis(x1, max(x2 - x1, least), bins[1], sampling_ratio)

    def largest(self, feature: Tensor) -> tuple[Tensor, ...]:
        """The largest sample of each bin and its place in the bin's grid.

        Args:
            feature (Tensor): (C, H, W).

        Returns:
            tuple[Tensor]: Value, row and column, each (C, bins high, bins wide).
        """
        (high, grid_y), (wide, grid_x) = self.rows.shape, self.columns.shape
        if grid_y * grid_x == 0:
            values = feature.new_zeros(feature.size(0), high, wide)
            return values, values - 1, values - 1
        by_row = _interpolation(self.rows.flatten(), feature.size(1)).to(feature)
        by_column = _interpolation(self.columns.flatten(), feature.size(2)).to(feature)
        with torch.autocast(feature.device.type, enabled=False):
            samples = (by_row @ feature @ by_column.T).unflatten(2, (wide, grid_x))
        samples = samples.unflatten(1, (high, grid_y)).transpose(2, 3).flatten(3)
        values, place = samples.max(-1)
        return values, place // grid_x, place % grid_x

    def spread(self, grad: Tensor, row: Tensor, column: Tensor, total: Tensor) -> None:
        """Add each bin's gradient to the pixels around its largest sample.

        Args:
            grad (Tensor): (C, bins high, bins wide).
            row (Tensor): As from ``largest``.
            column (Tensor): As from ``largest``.
            total (Tensor): (C, H, W), added to in place.
        """
        if self.rows.size(1) * self.columns.size(1) == 0:
            return
        height, width = total.shape[1:]
        by_row = _interpolation(self.rows.flatten(), height).to(total)
        by_column = _interpolation(self.columns.flatten(), width).to(total)
        high, wide = grad.shape[1:]
        first = torch.arange(high, device=grad.device)[:, None] * self.rows.size(1)
        row = (first + row.long()).flatten(1)
        first = torch.arange(wide, device=grad.device) * self.columns.size(1)
        column = (first + column.long()).flatten(1)
        # (C, bins, H) and (C, bins, W): a bin's gradient spreads as their outer product.
        rows = (by_row[row] * grad.flatten(1)[..., None]).transpose(1, 2)
        with torch.autocast(grad.device.type, enabled=False):
            total += rows @ by_column[column]


def _axis(start: Any, length: Any, bins: Any, sampling_ratio: int) -> Any:
    size = length / bins
    grid = sampling_ratio if sampling_ratio > 0 else max(math.ceil(size), 0)
    bin_start = torch.arange(bins, dtype=torch.float64)[:, None] * size
    within = (torch.arange(grid, dtype=torch.float64) + 0.5) * (size / max(grid, 1))
    return start + bin_start + within


def _interpolation(positions: Any, size: Any) -> Any:
    """Weight of each pixel at each position, (S,) -> (S, size); none farther out than a pixel."""
    inside = (positions >= -1) & (positions <= size)
    positions = positions.clamp(0, size - 1)
    low = positions.floor()
    share = (positions - low)[:, None]
    low = low.long()[:, None]
    weights = torch.zeros(len(positions), size, dtype=positions.dtype)
    weights.scatter_add_(1, low, 1 - share)
    weights.scatter_add_(1, (low + 1).clamp(max=size - 1), share)
    return weights * inside[:, None]
