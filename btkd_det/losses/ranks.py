"""Sums over all processes of a distributed training."""

import torch
from mmengine.dist import get_world_size
from torch import Tensor, distributed


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, in place; the host does not wait for it.

    Every rank has to call it, also one without rows.

    Args:
        tensor (Tensor): Without a gradient, of one shape on every rank.

    Returns:
        Tensor: ``tensor``.
    """
    if get_world_size() > 1:
        distributed.all_reduce(tensor)
    return tensor


def mean_over_ranks(number: Tensor) -> Tensor:
    """The mean of every rank's number of rows, at least 1 in all of them together.

    A sum over a rank's rows is divided by it: distributed training takes the mean of the ranks'
    gradients, and this way each row weighs the same, whatever rank it is on.

    Args:
        number (Tensor): Rows of this rank, 0 included, without dimensions.

    Returns:
        Tensor: float32, without dimensions; ``number`` itself, at least 1, without other ranks.
    """
    if get_world_size() == 1:
        return number.clamp(min=1)
    return sum_over_ranks(number.to(torch.float32, copy=True)).clamp_(min=1) / get_world_size()
