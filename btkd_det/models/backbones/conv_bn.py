"""Convolution and batch norm: what all CIFAR networks are made of."""

from torch import nn


def conv_bn(
    in_channels: int,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    relu: bool = True,
) -> nn.Sequential:
    """A convolution that keeps the size at stride 1, a batch norm and, by default, a ReLU.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        kernel (int): Odd width of the kernel. Defaults to 1.
        stride (int): Defaults to 1.
        groups (int): Defaults to 1; ``in_channels`` makes the convolution a depthwise one.
        bias (bool): Whether the convolution has a bias that the norm makes redundant.
        relu (bool): Whether a ReLU follows.

    Returns:
        nn.Sequential: The two or three layers.
    """
    layers = [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=bias),
        nn.BatchNorm2d(channels),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
