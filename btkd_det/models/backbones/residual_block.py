"""The residual blocks of ResNet."""

from torch import nn

from .conv_bn import conv_bn


class ResidualBlock(nn.Module):
    """``relu(branch(x) + shortcut(x))``, `Deep Residual Learning for Image Recognition
    <https://arxiv.org/abs/1512.03385>`_.

    The shortcut is the identity where the shapes agree, and a 1x1 convolution with batch norm
    where they do not (option B of the paper), as in the networks of the distillation literature.

    Args:
        branch (nn.Module): Ends with a norm, without a ReLU.
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        stride (int): The branch's stride.
    """

    def __init__(self, branch, in_channels, channels, stride):
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = conv_bn(in_channels, channels, stride=stride, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        return self.relu(self.branch(x) + self.shortcut(x))


def basic_block(in_channels, channels, stride):
    """Two 3x3 convolutions; the first one strides."""
    branch = nn.Sequential(
        conv_bn(in_channels, channels, 3, stride), conv_bn(channels, channels, 3, relu=False)
    )
    return ResidualBlock(branch, in_channels, channels, stride)


def bottleneck_block(in_channels, channels, stride):
    """1x1, 3x3 and 1x1 convolutions, the inner two a quarter as wide; the 3x3 one strides."""
    width = channels // 4
    branch = nn.Sequential(
        conv_bn(in_channels, width),
        conv_bn(width, width, 3, stride),
        conv_bn(width, channels, relu=False),
    )
    return ResidualBlock(branch, in_channels, channels, stride)


def stages_of(block, in_channels, channels, depths):
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
