"""MobileNetV2 for 32x32 images."""

from typing import Any

from torch import Tensor, nn

from ...checks import check_count
from ...errors import ConfigError
from ...registry import MODELS
from .cifar_backbone import CIFARBackbone
from .conv_bn import conv_bn

# Output channels at full width, blocks, first stride, and whether the paper's expansion applies.
# The lines of a stage share a resolution.
STAGES = (
    ((16, 1, 1, False), (24, 2, 1, True)),
    ((32, 3, 2, True),),
    ((64, 4, 2, True), (96, 3, 1, True)),
    ((160, 3, 2, True), (320, 1, 1, True)),
)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise and 1x1 linear convolution, with the input added to the output
    where the shapes agree.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        stride (int): The depthwise convolution's stride.
        expand_ratio (int): Channels inside over channels of the input. At 1 the first 1x1
            convolution stays, as in the networks of the distillation literature.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        width = in_channels * expand_ratio
        self.branch = nn.Sequential(
            conv_bn(in_channels, width),
            conv_bn(width, width, 3, stride, groups=width),
            conv_bn(width, channels, relu=False),
        )
        self.adds_input = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride), not activated."""
        out = self.branch(x)
        return x + out if self.adds_input else out


@MODELS.register_module()
class CIFARMobileNetV2(CIFARBackbone):
    """MobileNetV2 at half width, with strides for 32x32 images.

    `MobileNetV2: Inverted Residuals and Linear Bottlenecks <https://arxiv.org/abs/1801.04381>`_,
    table 2, as `Knowledge Distillation via Route Constrained Optimization
    <https://arxiv.org/abs/1904.09149>`_ and its successors use it: the first blocks of 24
    channels at stride 1, ReLU in place of ReLU6, no dropout. Four stages at strides 2, 4, 8 and
    16 with linear outputs; map 4 is the 1x1 convolution to 1280 channels that closes the network.

    Args:
        widen_factor (float): Share of the paper's channels, rounded down. The last 1280 channels
            only grow with it, above 1. Defaults to 0.5.
        expand_ratio (int): Of the inverted residuals but the first. Defaults to 6.
        out_indices (tuple[int]): Of the maps 0 to 4; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal distribution by the
            fan out, norms 1 and 0.

    Raises:
        ConfigError: A width or ratio out of range, or an index names no map.
    """

    def __init__(
        self,
        widen_factor: float = 0.5,
        expand_ratio: int = 6,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        if not isinstance(widen_factor, (int, float)) or widen_factor * 16 < 1:
            raise ConfigError(f'widen_factor: {widen_factor!r}; valid: 1/16 or more')
        check_count(expand_ratio=expand_ratio)
        stem_channels = in_channels = int(32 * widen_factor)
        stages, channels = [], []
        for lines in STAGES:
            blocks = []
            for width, depth, stride, expands in lines:
                width = int(width * widen_factor)
                for i in range(depth):
                    blocks.append(
                        InvertedResidual(
                            in_channels,
                            width,
                            stride if i == 0 else 1,
                            expand_ratio if expands else 1,
                        )
                    )
                    in_channels = width
            stages.append(nn.Sequential(*blocks))
            channels.append(in_channels)
        last_channels = int(1280 * max(widen_factor, 1))
        super().__init__(
            stem=conv_bn(3, stem_channels, 3, stride=2),
            stages=stages,
            channels=[*channels, last_channels],
            closing=conv_bn(in_channels, last_channels),
            out_indices=out_indices,
            init_cfg=init_cfg,
        )
