"""VGG for 32x32 images."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...checks import check_choice
from ...registry import MODELS
from .cifar_backbone import CIFARBackbone
from .conv_bn import conv_bn

CHANNELS = (64, 128, 256, 512, 512)
DEPTHS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class HalveLargeMap(nn.Module):
    """Max pooling of maps larger than 4x4; smaller ones pass."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / 2, W / 2), or the input where H is 4 or less."""
        return F.max_pool2d(x, 2) if x.shape[-2] > 4 else x


@MODELS.register_module()
class CIFARVGG(CIFARBackbone):
    """VGG with batch norm and one linear layer.

    `Very Deep Convolutional Networks for Large-Scale Image Recognition
    <https://arxiv.org/abs/1409.1556>`_, table 1, with batch norm
    (https://arxiv.org/abs/1502.03167) and with the average pooling in place of the two hidden
    linear layers; depth 8 has one convolution a stage (`Contrastive Representation Distillation
    <https://arxiv.org/abs/1910.10699>`_). Five stages at strides 1, 2, 4, 8 and, for 32x32
    images, 8 again, so that the last map has 4x4 cells; larger images are pooled once more, to
    stride 16.

    Args:
        depth (int): 8, 11, 13, 16 or 19.
        out_indices (tuple[int]): Of the maps 0 to 4; see :class:`CIFARBackbone`.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal distribution by the
            fan out, norms 1 and 0.

    Raises:
        ConfigError: No network has this depth, or an index names no map.
    """

    def __init__(
        self,
        depth: int,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        check_choice('depth', depth, DEPTHS)
        pools = [nn.Identity(), *(nn.MaxPool2d(2) for _ in range(3)), HalveLargeMap()]
        stages, in_channels = [], 3
        for pool, channels, convs in zip(pools, CHANNELS, DEPTHS[depth], strict=True):
            widths = [in_channels] + [channels] * convs
            layers = [conv_bn(*pair, 3, bias=True) for pair in zip(widths, widths[1:])]  # noqa: B905
            stages.append(nn.Sequential(pool, *layers))
            in_channels = channels
        super().__init__(
            stem=nn.Identity(),
            stages=stages,
            channels=CHANNELS,
            out_indices=out_indices,
            init_cfg=init_cfg,
        )
