"""Non-maximum suppression: greedy, soft (https://arxiv.org/abs/1704.04503), and grouping."""

from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from .precision import widen

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes (Tensor): (N, 4), x1 y1 x2 y2 in pixels.
        scores (Tensor): (N,).
        iou_threshold (float): A box goes when its IoU with a better one that stays is larger.
        offset (int): 1 where x2 and y2 are the last pixels inside (a width is x2 - x1 + 1),
            0 where they are edges.

    Returns:
        Tensor: Indices of the boxes that stay, (K,) int64, by falling score.
    """
    boxes = widen(boxes)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    # Held against a float32 IoU, MMCV's threshold is a float32 too; torchvision's is a float64.
    iou_threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft non-maximum suppression: overlap lowers a score instead of removing the box.

    The best box left is taken, the scores of the others are multiplied by their weight, and
    those that fall under ``min_score`` are dropped; then again, until none is left. NumPy does
    it, on the CPU: a thousand steps of a few numbers each.

    Args:
        boxes (Tensor): (N, 4), x1 y1 x2 y2 in pixels, on the CPU.
        scores (Tensor): (N,).
        dets (Tensor): (N, 5); the first K rows are filled with box and lowered score.
        iou_threshold (float): IoU from which on ``method`` 0 and 1 act.
        sigma (float): Width of the Gaussian of ``method`` 2.
        min_score (float): Lowest score that stays; the first box always does.
        method (int): 0 weighs an overlapping box 0, 1 weighs it 1 - IoU, and 2 weighs every
            box exp(-IoU^2 / sigma).
        offset (int): As in ``nms``.

    Returns:
        Tensor: Indices of the boxes that stay, (K,) int64, in the order taken.
    """
    # Rows x1, y1, x2, y2 and score of the boxes that are left, one column each.
    left = np.vstack([widen(boxes).numpy().T, widen(scores, like=boxes).numpy()])
    index = np.arange(left.shape[1])
    taken, keep = [], []
    while len(index):
        best = left[4].argmax()
        taken.append(left[:, best].copy())
        keep.append(index[best])
        left[4] *= _decay(_iou(left[:4, best], left[:4], offset), iou_threshold, sigma, method)
        stay = ~(left[4] < min_score)
        stay[best] = False
        left, index = left[:, stay], index[stay]
    if keep:
        dets[: len(keep)] = torch.from_numpy(np.array(taken))
    return torch.from_numpy(np.array(keep, dtype=np.int64))


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Greedy suppression that tells which boxes each kept one stands for.

    Args:
        dets (Tensor): (N, 5), x1 y1 x2 y2 in pixels and score, on the CPU.
        iou_threshold (float): A box goes to a better one's group from this IoU on.

    Returns:
        list[list[int]]: One group per box that stays, by falling score: its index, then those
        of the boxes that it suppressed, by falling score.
    """
    boxes = widen(dets[:, :4]).numpy().T
    left = torch.sort(dets[:, 4], descending=True, stable=True).indices.numpy()
    groups = []
    while len(left):
        best, rest = left[0], left[1:]
        taken = _iou(boxes[:, best], boxes[:, rest], 0) >= iou_threshold
        groups.append([int(best), *map(int, rest[taken])])
        left = rest[~taken]
    return groups


def _decay(iou: Any, iou_threshold: float, sigma: Any, method: str) -> Any:
    if method == GAUSSIAN:
        return np.exp(-(iou**2) / sigma)
    weight = 0 if method == NAIVE else 1 - iou
    return np.where(iou >= iou_threshold, weight, 1)


def _iou(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """IoU of one box with others, (4,) and (4, N) -> (N,); 0 where both have no area."""
    x1, y1, x2, y2 = boxes
    width = np.minimum(box[2], x2) - np.maximum(box[0], x1) + offset
    height = np.minimum(box[3], y2) - np.maximum(box[1], y1) + offset
    shared = width.clip(min=0) * height.clip(min=0)
    area = (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    union = area + (x2 - x1 + offset) * (y2 - y1 + offset) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union != 0)
