"""ResNet for 32x32 images."""

from typing import Any

from ...checks import check_choice, check_count
from ...errors import ConfigError
from ...registry import MODELS
from .cifar_backbone import CIFARBackbone
from .conv_bn import conv_bn
from .residual_block import basic_block, padded_block, stages_of


@MODELS.register_module()
class CIFARResNet(CIFARBackbone):
    """ResNet of basic blocks for 32x32 images.

    `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`_, section
    4.2. Three stages at strides 1, 2
    and 4. resnet8x4 and resnet32x4 have a stem of 32 and a first stage of 64 channels
    (`Contrastive Representation Distillation <https://arxiv.org/abs/1910.10699>`_).

    Args:
        depth (int): 6n + 2: n blocks of two convolutions in each stage.
        stem_channels (int): Defaults to 16.
        base_channels (int): Channels of the first stage, doubled in each later one. Defaults to
            16.
        shortcut (str): Where it changes its shape, ``'B'``, 1x1 convolutions, as in the networks
            of the distillation literature; or ``'A'``, zeros for the new channels, the paper's own
            for CIFAR, which public weights need. Defaults to ``'B'``.
        out_indices (tuple[int]): Of the maps 0 to 2; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal distribution by the
            fan out, norms 1 and 0.

    Raises:
        ConfigError: No network has this depth or width, or an index names no map.
    """

    def __init__(
        self,
        depth: int,
        stem_channels: int = 16,
        base_channels: int = 16,
        shortcut: str = 'B',
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        if type(depth) is not int or depth < 8 or depth % 6 != 2:
            raise ConfigError(f'depth: {depth!r}; valid: 6n + 2, such as 8, 20, 56 or 110')
        check_choice('shortcut', shortcut, ('A', 'B'))
        if shortcut == 'A' and stem_channels > base_channels:
            raise ConfigError(
                f"shortcut: 'A' adds channels, but stem_channels is {stem_channels} and "
                f"base_channels {base_channels}; valid: no more in the stem, or shortcut='B'"
            )
        check_count(stem_channels=stem_channels, base_channels=base_channels)
        block = padded_block if shortcut == 'A' else basic_block
        channels = [base_channels, 2 * base_channels, 4 * base_channels]
        super().__init__(
            stem=conv_bn(3, stem_channels, 3),
            stages=stages_of(block, stem_channels, channels, [(depth - 2) // 6] * 3),
            channels=channels,
            out_indices=out_indices,
            init_cfg=init_cfg,
        )
