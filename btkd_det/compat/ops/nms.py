"""Non-maximum suppression."""

import torchvision

from .precision import widen


def nms(boxes, scores, iou_threshold, offset):
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
    return torchvision.ops.nms(boxes, scores.to(boxes), float(iou_threshold))
