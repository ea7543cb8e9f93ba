"""The one rule of precision: half types are computed in float32."""

import torch


def widen(tensor, like=None):
    """``tensor`` in the type that an op computes in.

    Args:
        tensor (Tensor): Of any floating type.
        like (Tensor, optional): The tensor whose type decides. Default: ``tensor`` itself.

    Returns:
        Tensor: float64 if that type is float64, else float32.
    """
    dtype = (tensor if like is None else like).dtype
    return tensor.to(torch.float64 if dtype == torch.float64 else torch.float32)
