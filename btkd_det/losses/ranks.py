"""Sums over all processes of a distributed training."""

from torch import Tensor, distributed


def num_ranks() -> int:
    """Number of processes that train together; 1 without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, in place; the host does not wait for it.

    Every rank has to call it, also one without rows.

    Args:
        tensor (Tensor): Without a gradient, of one shape on every rank.

    Returns:
        Tensor: ``tensor``.
    """
    if num_ranks() > 1:
        distributed.all_reduce(tensor)
    return tensor
