"""Random crops and flips of a whole batch of images at once."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


def draw(count: int, padding: int, flip: float) -> tuple[Tensor, Tensor]:
    """Draw crop offsets and flips from PyTorch's global CPU generator.

    Each row is distributed as in a per-image pipeline of mmpretrain's
    ``RandomCrop(crop_size=size, padding=padding)`` and ``RandomFlip(prob=flip)``.

    Args:
        count (int): N, the images of the batch.
        padding (int): Pixels added at each border before the crop.
        flip (float): Probability of a horizontal flip.

    Returns:
        tuple[Tensor, Tensor]: Offsets of the crop in the padded image (2, N), rows first,
        uniform over ``0 ... 2 * padding``, and which images are flipped (N,) bool.
    """
    offsets = torch.randint(2 * padding + 1, (2, count))
    return offsets, torch.rand(count) < flip


def draw_of_view(
    seed: int, sample_idx: Tensor, view: Tensor, padding: int, flip: float
) -> tuple[Tensor, Tensor]:
    """What :func:`draw` gives, as a fixed function of seed, image and view.

    It depends neither on the size of the set nor on any generator, so that what was computed on
    a view beforehand stays true: the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable
    pseudorandom number generators, OOPSLA 2014) over the three numbers.

    Args:
        seed (int): At least 0.
        sample_idx (Tensor): Indices into the set (N,).
        view (Tensor): Numbers of the views (N,).
        padding (int): Pixels added at each border before the crop.
        flip (float): Probability of a horizontal flip.

    Returns:
        tuple[Tensor, Tensor]: Offsets (2, N) and flips (N,) bool.
    """
    key = np.full(len(sample_idx), seed, dtype=np.uint64)
    for part in (sample_idx, view):
        key = _scramble(key) ^ part.numpy().astype(np.uint64)
    key = _scramble(key)
    uniform = [(_scramble(key ^ np.uint64(i)) >> np.uint64(11)) * 2.0**-53 for i in (1, 2, 3)]
    offsets = np.floor(np.stack(uniform[:2]) * (2 * padding + 1)).astype(np.int64)
    return torch.from_numpy(offsets), torch.from_numpy(uniform[2] < flip)


def crop_and_flip(images: Tensor, offsets: Tensor, flipped: Tensor, padding: int) -> Tensor:
    """Pad images with black, crop them to their own size, flip some of them.

    Args:
        images (Tensor): (N, C, H, W).
        offsets (Tensor): Top and left of each crop in the padded image (2, N).
        flipped (Tensor): Which images are mirrored, left to right (N,) bool.
        padding (int): Pixels added at each border.

    Returns:
        Tensor: (N, C, H, W).
    """
    if padding:
        height, width = images.shape[2:]
        # (N, C, 2 * padding + 1, 2 * padding + 1, H, W), without a copy.
        crops = pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = offsets
        images = crops[torch.arange(len(images), device=images.device), :, top, left]
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def _scramble(state: Any) -> Any:
    """The finalizer of SplitMix64 on an array of uint64, whose sums and products wrap around."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
