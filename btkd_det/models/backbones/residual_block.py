"""The residual blocks of ResNet."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .conv_bn import conv_bn


class PaddedShortcut(nn.Module):
    """The input at a stride, with channels of zeros: option A of He et al., without weights.

    Half of the new channels come before the input's, half after them, as in the CIFAR networks
    whose weights are public.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output, not fewer.
        stride (int): Of the rows and columns that are kept.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        before = (channels - in_channels) // 2
        self.padding = before, channels - in_channels - before
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.padding))


class ResidualBlock(nn.Module):
    """``relu(branch(x) + shortcut(x))``, `Deep Residual Learning for Image Recognition
    <https://arxiv.org/abs/1512.03385>`_.

    The shortcut is the identity where the shapes agree. Where they do not it is a 1x1 convolution
    with batch norm (option B of the paper), as in the networks of the distillation literature, or
    :class:`PaddedShortcut` (option A).

    Args:
        branch (nn.Module): Ends with a norm, without a ReLU.
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        stride (int): The branch's stride.
        shortcut (str): ``'B'`` or ``'A'``. Defaults to ``'B'``.
    """

    def __init__(
        self, branch: nn.Module, in_channels: int, channels: int, stride: int, shortcut: str = 'B'
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity()
        if shortcut == 'A':
            self.shortcut = PaddedShortcut(in_channels, channels, stride)
        elif stride != 1 or in_channels != channels:
            self.shortcut = conv_bn(in_channels, channels, stride=stride, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        return self.relu(self.branch(x) + self.shortcut(x))


def basic_block(in_channels: int, channels: int, stride: Any, shortcut: str = 'B') -> ResidualBlock:
    """Two 3x3 convolutions; the first one strides."""
    branch = nn.Sequential(
        conv_bn(in_channels, channels, 3, stride), conv_bn(channels, channels, 3, relu=False)
    )
    return ResidualBlock(branch, in_channels, channels, stride, shortcut)


#: The same with a shortcut without weights.
padded_block = functools.partial(basic_block, shortcut='A')


def bottleneck_block(in_channels: int, channels: int, stride: Any) -> ResidualBlock:
    """1x1, 3x3 and 1x1 convolutions, the inner two a quarter as wide; the 3x3 one strides."""
    width = channels // 4
    branch = nn.Sequential(
        conv_bn(in_channels, width),
        conv_bn(width, width, 3, stride),
        conv_bn(width, channels, relu=False),
    )
    return ResidualBlock(branch, in_channels, channels, stride)


def stages_of(
    block: Callable, in_channels: int, channels: Sequence[int], depths: Sequence[int]
) -> list[nn.Sequential]:
    """Stages of one kind of block, the first at stride 1, each later one halving the map.

    Args:
        block (Callable): ``block(in_channels, channels, stride) -> nn.Module``.
        in_channels (int): Channels that the stem gives.
        channels (Sequence[int]): Channels of each stage.
        depths (Sequence[int]): Number of blocks of each stage.

    Returns:
        list[nn.Sequential]: The stages.
    """
    stages = []
    for i, (width, depth) in enumerate(zip(channels, depths, strict=True)):
        blocks = [block(in_channels, width, 1 if i == 0 else 2)]
        blocks += [block(width, width, 1) for _ in range(depth - 1)]
        stages.append(nn.Sequential(*blocks))
        in_channels = width
    return stages
