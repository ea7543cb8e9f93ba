"""Foreground and background of FGD: small objects weigh as much as large ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .gate import Objects


def focal_masks(
    objects: Sequence[Objects],
    sizes: Sequence[tuple[int, int]],
    padded: tuple[int, int],
    kind: str | None = None,
) -> list[Tensor]:
    """Weights of the positions of feature maps, foreground and background apart.

    A box covers the rows from the floor of its top to the ceiling of its bottom, both included,
    by the geometry of the padded input: a map of height h covers the padded height. A position
    inside boxes weighs 1 / area of the smallest of them, in positions of the map; the others
    weigh alike, 1 in all.

    Source: FGD (Yang et al., CVPR 2022), equations 1 and 2, and its published code but for the
    geometry, see :class:`~btkd_det.losses.FGDLoss`.

    Args:
        objects (Sequence[Objects]): One entry for each image.
        sizes (Sequence[tuple[int, int]]): Height and width of each map.
        padded (tuple[int, int]): Height and width of the padded input in pixels.
        kind (str, optional): ``'teacher_right'``: boxes that the teacher classifies wrongly make
            no foreground, and are no background either. Otherwise all boxes alike.

    Returns:
        list[Tensor]: (N, 2, h, w) for each map: foreground, background.
    """
    return [
        torch.stack([_image_masks(image, size, padded, kind) for image in objects])
        for size in sizes
    ]


def _image_masks(
    image: Objects, size: tuple[int, int], padded: tuple[int, int], kind: str | None
) -> Tensor:
    """(2, h, w) of one image."""
    boxes = image.boxes.float()
    height, width = size
    scale = boxes.new_tensor([width / padded[1], height / padded[0]] * 2)
    x1, y1, x2, y2 = (boxes * scale).unbind(dim=1)
    top, left, bottom, right = y1.floor(), x1.floor(), y2.ceil(), x2.ceil()
    y = torch.arange(height, device=boxes.device)
    x = torch.arange(width, device=boxes.device)
    rows = (y >= top[:, None]) & (y <= bottom[:, None])
    columns = (x >= left[:, None]) & (x <= right[:, None])
    covered = rows[:, :, None] & columns[:, None, :]
    judged = image.right if kind == 'teacher_right' else torch.ones_like(image.right)
    weights = judged / ((bottom - top + 1) * (right - left + 1))
    # A first image of zeros, so that an image without boxes has a maximum, too.
    weighed = torch.cat([boxes.new_zeros(1, *size), covered * weights[:, None, None]])
    outside = (~covered.any(dim=0)).float()
    return torch.stack([weighed.amax(dim=0), outside / outside.sum().clamp(min=1)])
