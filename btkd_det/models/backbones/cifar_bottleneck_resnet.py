"""ResNet-50 and deeper for 32x32 images."""

from typing import Any

from ...checks import check_choice, check_count
from ...registry import MODELS
from .cifar_backbone import CIFARBackbone
from .conv_bn import conv_bn
from .residual_block import bottleneck_block, stages_of

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@MODELS.register_module()
class CIFARBottleneckResNet(CIFARBackbone):
    """ImageNet's ResNet of bottleneck blocks with a stem for 32x32 images.

    `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`_, table 1.
    The stem is one 3x3 convolution at stride 1, without pooling; the 3x3 convolution of a
    bottleneck strides. Four stages at strides 1, 2, 4 and 8.

    Args:
        depth (int): 50, 101 or 152. Defaults to 50.
        base_channels (int): Width of the stem and of the first stage's bottlenecks, which give
            four times as many. Defaults to 64.
        out_indices (tuple[int]): Of the maps 0 to 3; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal distribution by the
            fan out, norms 1 and 0.

    Raises:
        ConfigError: No network has this depth or width, or an index names no map.
    """

    def __init__(
        self,
        depth: int = 50,
        base_channels: int = 64,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        check_choice('depth', depth, DEPTHS)
        check_count(base_channels=base_channels)
        channels = [4 * base_channels * 2**i for i in range(4)]
        super().__init__(
            stem=conv_bn(3, base_channels, 3),
            stages=stages_of(bottleneck_block, base_channels, channels, DEPTHS[depth]),
            channels=channels,
            out_indices=out_indices,
            init_cfg=init_cfg,
        )
