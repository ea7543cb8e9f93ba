"""The one rule of precision: half types are computed in float32."""

import torch
from torch import Tensor


def widen(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """``tensor`` in the type that an op computes in.

    Args:
        tensor (Tensor): Of any floating type.
        like (Tensor, optional): The tensor whose type decides. Default: ``tensor`` itself.

    Returns:
        Tensor: float64 if that type is float64, else float32.
    """
    dtype = (tensor if like is None else like).dtype
    return tensor.to(torch.float64 if dtype == torch.float64 else torch.float32)


#: Farther from any map than a sample can be.
OUTSIDE = 1e6


def finite_offsets(offset: Tensor) -> Tensor:
    """Offsets with those that are no numbers put outside of the map, where a sample is 0.

    torchvision's operators look such a sample up at an address of no meaning: on a CPU the process
    ends with a segmentation fault. A network that diverges gives them.

    Args:
        offset (Tensor): Of any shape.

    Returns:
        Tensor: Likewise.
    """
    return offset.nan_to_num(nan=OUTSIDE, posinf=OUTSIDE, neginf=-OUTSIDE)


def finite_rois(rois: Tensor) -> Tensor:
    """RoIs with those put outside of the map of which a side is no number; see above.

    Args:
        rois (Tensor): (K, 5), image index and x1 y1 x2 y2.

    Returns:
        Tensor: (K, 5).
    """
    whole = rois.isfinite().all(dim=1, keepdim=True)
    nowhere = rois.new_tensor([0] + [-OUTSIDE] * 4)
    return torch.where(whole, rois, nowhere)
