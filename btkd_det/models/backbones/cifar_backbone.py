"""What the CIFAR networks have in common: a stem, stages, and what closes the network."""

import math
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError
from ...hints import Model

# He et al., https://arxiv.org/abs/1502.01852, eq. 14: the variance of the gradients is kept.
KAIMING_CONV = dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu')
# What PyTorch gives a layer: uniform within 1 / sqrt(fan in).
UNIFORM = dict(
    type='Kaiming',
    a=math.sqrt(5),
    mode='fan_in',
    nonlinearity='leaky_relu',
    distribution='uniform',
)
UNIT_NORM = dict(type='Constant', layer='_BatchNorm', val=1)
CONV_AND_NORM = (KAIMING_CONV, UNIT_NORM)


class CIFARBackbone(BaseModule):
    """A stem, stages of blocks, and the layers that some networks close with.

    The maps are numbered like the stages; the map that the closing layers give, where a network
    has any, comes after them. The last map is the one to pool for the classifier.

    Args:
        stem (nn.Module): Images to the first stage's input.
        stages (list[Model]): Each stage's output is a map of :meth:`features`.
        channels (list[int]): Channels of each map, the closing one included.
        closing (nn.Module, optional): The layers between the last stage and the pooling.
        out_indices (tuple[int]): The maps that :meth:`forward` returns; negative ones count from
            the end. Defaults to (-1,), the map to pool.
        init_cfg (dict | list[dict], optional): MMEngine's initialization config.

    Attributes:
        channels (tuple[int]): Channels of each map that ``out_indices`` can name.

    Raises:
        ConfigError: An index names no map.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: list[Model],
        channels: list[int],
        closing: Model | None = None,
        out_indices: tuple[int, ...] = (-1,),
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg=list(CONV_AND_NORM) if init_cfg is None else init_cfg)
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.closing = closing
        self.channels = tuple(channels)
        self.out_indices = self._resolve(out_indices)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The output of each stage, without the closing layers.

        Args:
            images (Tensor): (N, 3, H, W), normalized.

        Returns:
            tuple[Tensor]: (N, C, H, W) each, from the finest to the coarsest.
        """
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps that ``out_indices`` names.

        Args:
            images (Tensor): (N, 3, H, W), normalized.

        Returns:
            tuple[Tensor]: (N, C, H, W) each.
        """
        maps = self.features(images)
        if self.closing is not None and len(maps) in self.out_indices:
            maps += (self.closing(maps[-1]),)
        return tuple(maps[i] for i in self.out_indices)

    def _resolve(self, out_indices: Any) -> tuple:
        count = len(self.channels)
        indices = out_indices if isinstance(out_indices, (list, tuple)) else (out_indices,)
        for index in indices:
            if type(index) is not int or not -count <= index < count:
                raise ConfigError(
                    f'out_indices: {out_indices!r}; {type(self).__name__} gives {count} '
                    f'maps, so valid indices are {-count} to {count - 1}'
                )
        if not indices:
            raise ConfigError(f'out_indices: {out_indices!r}; valid: one index or more')
        return tuple(index % count for index in indices)
