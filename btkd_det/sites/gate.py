"""Where in a feature map the teacher is right."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..losses.ranks import mean_over_ranks


class Objects(NamedTuple):
    """The annotated objects of one image.

    Attributes:
        boxes (Tensor): (B, 4): x1, y1, x2, y2 in pixels of the padded input.
        right (Tensor): (B,) bool: whether the teacher's head classifies the box rightly.
        shape (tuple[int, int]): Height and width of the image in pixels, without its padding.
    """

    boxes: torch.Tensor
    right: torch.Tensor
    shape: tuple


def annotated_objects(samples: Sequence[Any]) -> list[Objects]:
    """The annotated objects of a batch, judged by nobody: every box counts as right.

    Args:
        samples (list[DetDataSample]): The annotations.

    Returns:
        list[Objects]: One entry for each image.
    """
    from mmdet.structures.bbox import get_box_tensor

    objects = []
    for sample in samples:
        boxes = get_box_tensor(sample.gt_instances.bboxes)
        right = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
        objects.append(Objects(boxes, right, sample.img_shape[:2]))
    return objects


def map_gate(
    objects: list[Objects],
    sizes: list[tuple[int, int]],
    padded: tuple[int, int],
    kind: str = 'teacher_right',
    background_weight: float = 0.5,
) -> list[Tensor]:
    """Weights of the positions of feature maps.

    A position belongs to a box if its center lies in it, by the geometry of the padded input: a
    map of height h covers the padded height, so its rows are padded height / h pixels apart. A
    box that holds no center belongs to the position that holds its own. Boxes that the teacher
    classifies wrongly are left out, but for positions that a right box covers too; so is the
    padding.

    Source: ours. The split of foreground and background, each normalized by its own count, is
    that of FGD (Yang et al., CVPR 2022).

    Args:
        objects (list[Objects]): One entry for each image.
        sizes (list[tuple[int, int]]): Height and width of each map.
        padded (tuple[int, int]): Height and width of the padded input in pixels.
        kind (str): ``'teacher_right'``, or ``'foreground'``: every box counts as right, the
            plain foreground mask.
        background_weight (float): What the background weighs as a whole; the foreground
            weighs 1.

    Returns:
        list[Tensor]: (N, 1, h, w) for each map; sums to 1 over the foreground and to
        ``background_weight`` over the background, or to 0 where there is none.
    """
    masks = []
    for size in sizes:
        parts = [_masks(image, size, padded, kind) for image in objects]
        masks.append(torch.stack([torch.stack(part) for part in parts], dim=1).float())
    return [weights.unsqueeze(1) for weights in shared_weights(masks, background_weight)]


def shared_weights(masks: Sequence[Tensor], background_weight: float) -> list[Tensor]:
    """Masks as weights, each part a mean over what all processes have of it.

    Args:
        masks (Sequence[Tensor]): (2, ...) each, foreground and background, 0 or 1.
        background_weight (float): What the background weighs as a whole.

    Returns:
        list[Tensor]: (...) each.
    """
    counts = mean_over_ranks(torch.stack([part.flatten(1).sum(dim=1) for part in masks]))
    found = []
    for (inside, outside), (number, others) in zip(masks, counts, strict=True):
        found.append(inside / number + background_weight * outside / others)
    return found


def _masks(image: Objects, size: tuple[int, int], padded: tuple[int, int], kind: str) -> tuple:
    """Positions inside right boxes, and those outside all boxes and inside the image."""
    (height, width), boxes = size, image.boxes.float()
    step_y, step_x = padded[0] / height, padded[1] / width
    y = (torch.arange(height, device=boxes.device) + 0.5) * step_y
    x = (torch.arange(width, device=boxes.device) + 0.5) * step_x
    x1, y1, x2, y2 = (side[:, None] for side in boxes.unbind(1))
    # The position that holds the box's center always belongs to it.
    holds_y = (y - (y1 + y2) / 2).abs() <= step_y / 2
    holds_x = (x - (x1 + x2) / 2).abs() <= step_x / 2
    rows, columns = (y >= y1) & (y <= y2), (x >= x1) & (x <= x2)
    covered = rows[:, :, None] & columns[:, None, :] | holds_y[:, :, None] & holds_x[:, None, :]
    right = image.right if kind == 'teacher_right' else torch.ones_like(image.right)
    inside = (covered & right[:, None, None]).any(dim=0)
    in_image = (y < image.shape[0])[:, None] & (x < image.shape[1])
    return inside, in_image & ~covered.any(dim=0)
