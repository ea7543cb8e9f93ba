"""The shuffle of ShuffleNet."""

from torch import Tensor, nn


class ChannelShuffle(nn.Module):
    """Deal the channels of each group out to all groups.

    https://arxiv.org/abs/1707.01083, section 3.1: without it, what one group of a grouped
    convolution sees never reaches another.

    Args:
        groups (int): A divisor of the number of channels.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Channel ``g * C / groups + c`` of the input becomes ``c * groups + g``.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, C, H, W).
        """
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f'groups={self.groups}'
