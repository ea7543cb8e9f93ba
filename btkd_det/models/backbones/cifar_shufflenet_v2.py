"""ShuffleNetV2 for 32x32 images."""

from typing import Any

import torch
from torch import Tensor, nn

from ...checks import check_choice
from ...registry import MODELS
from .channel_shuffle import ChannelShuffle
from .cifar_backbone import UNIFORM, UNIT_NORM, CIFARBackbone
from .conv_bn import conv_bn

STEM_CHANNELS = 24
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
DEPTHS = (4, 8, 4)


class ShuffleNetV2Block(nn.Module):
    """Half of the channels through a branch, the other half past it, then a shuffle.

    `Practical Guidelines for Efficient CNN Architecture Design
    <https://arxiv.org/abs/1807.11164>`_, figure 3 (c). The first half passes.

    Args:
        channels (int): Channels of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, stride=1)
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        passed, taken = x.chunk(2, dim=1)
        return self.shuffle(torch.cat([passed, self.branch(taken)], dim=1))


class ShuffleNetV2DownBlock(nn.Module):
    """All channels through two branches at stride 2, then a shuffle: figure 3 (d).

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output, half of them from each branch.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(
            conv_bn(in_channels, in_channels, 3, 2, groups=in_channels, relu=False),
            conv_bn(in_channels, channels // 2),
        )
        self.branch = _branch(in_channels, channels // 2, stride=2)
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / 2, W / 2)."""
        return self.shuffle(torch.cat([self.shortcut(x), self.branch(x)], dim=1))


@MODELS.register_module()
class CIFARShuffleNetV2(CIFARBackbone):
    """ShuffleNetV2 with a stem for 32x32 images.

    `ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design
    <https://arxiv.org/abs/1807.11164>`_, table 5, with a 1x1 convolution at stride 1 for its
    stem as in the distillation literature. Three stages at strides 2, 4 and 8; map 3 is the 1x1
    convolution to 1024 channels that closes the network.

    Args:
        widen_factor (float): 0.5, 1.0, 1.5 or 2.0. Defaults to 1.0.
        out_indices (tuple[int]): Of the maps 0 to 3; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to PyTorch's own uniform distribution,
            as in the literature's code; norms 1 and 0.

    Raises:
        ConfigError: No network has this width, or an index names no map.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        check_choice('widen_factor', widen_factor, CHANNELS)
        *widths, last_channels = CHANNELS[widen_factor]
        stages, in_channels = [], STEM_CHANNELS
        for channels, depth in zip(widths, DEPTHS, strict=True):
            blocks = [ShuffleNetV2DownBlock(in_channels, channels)]
            blocks += [ShuffleNetV2Block(channels) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            in_channels = channels
        super().__init__(
            stem=conv_bn(3, STEM_CHANNELS),
            stages=stages,
            channels=CHANNELS[widen_factor],
            closing=conv_bn(in_channels, last_channels),
            out_indices=out_indices,
            init_cfg=[dict(UNIFORM, layer='Conv2d'), UNIT_NORM] if init_cfg is None else init_cfg,
        )


def _branch(in_channels: int, channels: int, stride: Any) -> Any:
    return nn.Sequential(
        conv_bn(in_channels, channels),
        conv_bn(channels, channels, 3, stride, groups=channels, relu=False),
        conv_bn(channels, channels),
    )
