"""Overlap of two sets of boxes."""

import torch
from torch import Tensor

from .precision import widen

IOU, IOF = 0, 1


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Overlap of two sets of boxes, written to ``ious``.

    Args:
        bboxes1 (Tensor): (M, 4), x1 y1 x2 y2 in pixels.
        bboxes2 (Tensor): (N, 4), and N = M where ``aligned``.
        ious (Tensor): (M, N), or (M,) where ``aligned``; filled here.
        mode (int): 0 divides by the union, 1 by the area of the first box.
        aligned (bool): Row by row instead of every box with every other.
        offset (int): 1 where a width is x2 - x1 + 1, 0 where it is x2 - x1.
    """
    first, second = widen(bboxes1), widen(bboxes2, like=bboxes1)
    if not aligned:
        first = first[:, None]
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:4], second[..., 2:4])
    shared = (high - low + offset).clamp(min=0).prod(-1)
    base = _area(first, offset)
    if mode == IOU:
        base = base + _area(second, offset) - shared
    ious.copy_(shared / base.clamp(min=offset))


def _area(boxes: Tensor, offset: int) -> Tensor:
    return (boxes[..., 2:4] - boxes[..., :2] + offset).prod(-1)
