"""ShuffleNet for 32x32 images."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...checks import check_choice
from ...registry import MODELS
from .channel_shuffle import ChannelShuffle
from .cifar_backbone import UNIFORM, UNIT_NORM, CIFARBackbone
from .conv_bn import conv_bn

STEM_CHANNELS = 24
CHANNELS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
DEPTHS = (4, 8, 4)


class ShuffleNetV1Block(nn.Module):
    """Grouped 1x1 convolution, shuffle, 3x3 depthwise and grouped 1x1 convolution.

    At stride 1 the input is added to the result; at stride 2 the averaged input's channels come
    after the result's. A ReLU follows either.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        stride (int): 1 or 2.
        groups (int): Of the second 1x1 convolution.
        first_groups (int): Of the first 1x1 convolution.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, groups: int, first_groups: int
    ) -> None:
        super().__init__()
        self.stride = stride
        channels -= in_channels if stride == 2 else 0
        width = channels // 4
        self.branch = nn.Sequential(
            conv_bn(in_channels, width, groups=first_groups),
            ChannelShuffle(first_groups),
            conv_bn(width, width, 3, stride, groups=width),
            conv_bn(width, channels, groups=groups, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride)."""
        out = self.branch(x)
        if self.stride == 2:
            return torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1).relu_()
        return (out + x).relu_()


@MODELS.register_module()
class CIFARShuffleNetV1(CIFARBackbone):
    """ShuffleNet with a stem for 32x32 images.

    `ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices
    <https://arxiv.org/abs/1707.01083>`_, table 1, as the distillation literature uses it: the
    stem is a 1x1 convolution at stride 1, a ReLU follows the depthwise convolution, and a
    bottleneck's width is a quarter of the channels that its block adds. Three stages at strides
    2, 4 and 8.

    Args:
        groups (int): 1, 2, 3, 4 or 8, which sets the channels. Defaults to 3.
        out_indices (tuple[int]): Of the maps 0 to 2; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to PyTorch's own uniform distribution,
            as in the literature's code; norms 1 and 0.

    Raises:
        ConfigError: No network has this many groups, or an index names no map.
    """

    def __init__(
        self,
        groups: int = 3,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        check_choice('groups', groups, CHANNELS)
        stages, in_channels = [], STEM_CHANNELS
        for i, (channels, depth) in enumerate(zip(CHANNELS[groups], DEPTHS, strict=True)):
            # The paper: no groups where the input is that narrow.
            blocks = [ShuffleNetV1Block(in_channels, channels, 2, groups, 1 if i == 0 else groups)]
            blocks += [
                ShuffleNetV1Block(channels, channels, 1, groups, groups) for _ in range(depth - 1)
            ]
            stages.append(nn.Sequential(*blocks))
            in_channels = channels
        super().__init__(
            stem=conv_bn(3, STEM_CHANNELS),
            stages=stages,
            channels=CHANNELS[groups],
            out_indices=out_indices,
            init_cfg=[dict(UNIFORM, layer='Conv2d'), UNIT_NORM] if init_cfg is None else init_cfg,
        )
