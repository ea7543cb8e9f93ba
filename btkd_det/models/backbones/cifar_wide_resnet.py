"""Wide ResNet for 32x32 images."""

from typing import Any

from torch import Tensor, nn

from ...checks import check_count
from ...errors import ConfigError
from ...registry import MODELS
from .cifar_backbone import CIFARBackbone
from .residual_block import stages_of


class PreActivationBlock(nn.Module):
    """``x + conv(relu(norm(conv(relu(norm(x))))))``, `Identity Mappings in Deep Residual Networks
    <https://arxiv.org/abs/1603.05027>`_.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated
    input, without a norm.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        stride (int): The first convolution's stride.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.activate = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True))
        self.branch = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        self.shortcut = None
        if in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C, H / stride, W / stride), not activated."""
        activated = self.activate(x)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return shortcut + self.branch(activated)


@MODELS.register_module()
class CIFARWideResNet(CIFARBackbone):
    """Wide ResNet, ``wrn_<depth>_<widen_factor>``.

    `Wide Residual Networks <https://arxiv.org/abs/1605.07146>`_, table 1, without dropout. Three
    stages at strides 1, 2 and 4. A stage gives sums that no norm or ReLU has seen yet: those are
    the block outputs that the literature distills. Map 3 is the last of them after the norm and
    the ReLU that close the network.

    Args:
        depth (int): 6n + 4: n blocks of two convolutions in each stage.
        widen_factor (int): Channels are 16, 32 and 64 times this.
        out_indices (tuple[int]): Of the maps 0 to 3; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal distribution by the
            fan out, norms 1 and 0.

    Raises:
        ConfigError: No network has this depth or width, or an index names no map.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int = 1,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        if type(depth) is not int or depth < 10 or depth % 6 != 4:
            raise ConfigError(f'depth: {depth!r}; valid: 6n + 4, such as 16 or 40')
        check_count(widen_factor=widen_factor)
        channels = [16 * widen_factor * 2**i for i in range(3)]
        super().__init__(
            stem=nn.Conv2d(3, 16, 3, padding=1, bias=False),
            stages=stages_of(PreActivationBlock, 16, channels, [(depth - 4) // 6] * 3),
            channels=[*channels, channels[-1]],
            closing=nn.Sequential(nn.BatchNorm2d(channels[-1]), nn.ReLU(inplace=True)),
            out_indices=out_indices,
            init_cfg=init_cfg,
        )
