"""FGD: where the teacher looks, foreground and background apart, and how positions relate."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..checks import check_not_negative, check_positive
from ..hints import Model
from ..registry import MODELS
from .level_modules import LevelModuleLoss


@MODELS.register_module()
class FGDLoss(LevelModuleLoss):
    """Focal and global distillation of a detector's maps.

    Four sums over channels and positions, each averaged over images. Focal: the squared
    difference of the maps, weighed by the teacher's attention over positions and over channels,
    on the foreground (``alpha``; a position weighs 1 / area of the smallest box over it) and on
    the background (``beta``; each position weighs alike, 1 in all). Attention: the absolute
    difference of both attentions (``gamma``). Global: the squared difference of the maps after
    each has been given its own global context (``lambda_``), by blocks that learn.

    Source: Focal and Global Knowledge Distillation for Detectors (Yang et al., CVPR 2022),
    equations 2 to 12, and the authors' code (``yzd-v/FGD``,
    ``mmdet/distillation/losses/fgd.py``). One deviation: that code scales boxes by an image's
    size without its padding (``img_shape``) to maps that cover the padded batch, so that a box
    of a smaller image lies too far right and down; here boxes are scaled by the padded size.

    The authors' weights (their ``configs/distillers/fgd``), with ``temperature``, ``alpha``,
    ``beta``, ``gamma``, ``lambda_``:

    * Faster R-CNN R101 to R50, levels (0, 1, 2, 3): 0.5, 5e-5, 2.5e-5, 5e-5, 5e-7.
    * RetinaNet R101 to R50, all levels: 0.5, 1e-3, 5e-4, 5e-4, 5e-6.
    * FCOS R101 to R50, all levels: 0.8, 1.6e-3, 8e-4, 8e-4, 8e-6.

    Args:
        temperature (float): Of both attentions.
        alpha, beta, gamma, lambda_ (float): See above.
        gate (str, optional): Which boxes are foreground: all with ``None`` or ``'foreground'``;
            with ``'teacher_right'`` (ours) those that the teacher classifies rightly, and what
            lies in the others alone is neither foreground nor background.
        levels, teacher_levels, adapter, loss_weight: See
            :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Raises:
        ConfigError: ``temperature`` is not above 0 or a weight below 0; see also the base.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import FGDLoss
        >>> _ = torch.manual_seed(0)
        >>> loss = FGDLoss(temperature=0.5)
        >>> loss.fit([(8, 8, 8)], [(8, 8, 8)])  # channels, height and width of each level
        >>> student, teacher = torch.randn(2, 8, 8, 8), torch.randn(2, 8, 8, 8)
        >>> focal = torch.rand(2, 2, 8, 8)  # foreground and background
        >>> loss([student], [teacher], focal=[focal]) > 0
        tensor(True)
        >>> sorted({name.split('.')[0] for name, _ in loss.named_parameters()})
        ['level_modules']
    """

    #: Foreground and background of each level, see :func:`btkd_det.sites.focal.focal_masks`.
    extra_inputs = ('focal',)

    def __init__(
        self,
        temperature: float = 0.5,
        alpha: float = 1e-3,
        beta: float = 5e-4,
        gamma: float = 1e-3,
        lambda_: float = 5e-6,
        gate: str | None = None,
        levels: Sequence[int] | None = None,
        teacher_levels: Sequence[int] | None = None,
        adapter: str | None = 'auto',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(
            gate=gate,
            levels=levels,
            teacher_levels=teacher_levels,
            adapter=adapter,
            loss_weight=loss_weight,
        )
        check_positive(temperature=temperature)
        check_not_negative(alpha=alpha, beta=beta, gamma=gamma, lambda_=lambda_)
        self.temperature = temperature
        self.alpha, self.beta, self.gamma, self.lambda_ = alpha, beta, gamma, lambda_

    def level_module(self, channels: int) -> nn.Module:
        """The global context of the student and that of the teacher."""
        return nn.ModuleDict(
            {'student': GlobalContext(channels), 'teacher': GlobalContext(channels)}
        )

    def level_with(
        self, module: Model, student: Tensor, teacher: Tensor, extra: dict[str, Tensor]
    ) -> Tensor:
        """The weighted sum of the four parts.

        Raises:
            ValueError: ``focal`` is missing: foreground and background are the site's to say.
        """
        if 'focal' not in extra:
            raise ValueError(
                'FGDLoss needs focal, the weights of foreground and background of each map; see '
                'btkd_det.sites.focal.focal_masks'
            )
        positions, channels = attention(teacher, self.temperature)
        own_positions, own_channels = attention(student, self.temperature)
        attended = (student - teacher).square() * channels * positions
        inside, outside = extra['focal'].to(attended.dtype).split(1, dim=1)
        focal = self.alpha * attended * inside + self.beta * attended * outside
        looking = (own_channels - channels).abs().sum() + (own_positions - positions).abs().sum()
        related = module['student'](student) - module['teacher'](teacher)
        total = focal.sum() + self.gamma * looking
        return (total + self.lambda_ * related.to(total.dtype).square().sum()) / len(student)


def attention(maps: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """How much each position and each channel holds, by mean absolute values.

    Source: Yang et al., CVPR 2022, equations 3 to 6.

    Args:
        maps (Tensor): (N, C, H, W).
        temperature (float): Of the softmax.

    Returns:
        tuple[Tensor, Tensor]: (N, 1, H, W) and (N, C, 1, 1), each with the mean 1 in an image.
    """
    height, width = maps.shape[2:]
    size = maps.abs()
    positions = (size.mean(dim=1).flatten(1) / temperature).softmax(dim=1) * (height * width)
    channels = (size.mean(dim=(2, 3)) / temperature).softmax(dim=1) * maps.shape[1]
    return positions.view(-1, 1, height, width), channels[:, :, None, None]


class GlobalContext(nn.Module):
    """A map with what all of its positions say together added to each.

    Source: the global context block of GCNet (Cao et al., ICCV Workshops 2019) as Yang et al.
    use it: half the channels in between, and nothing is added at first.

    Args:
        channels (int): C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(channels // 2, 1)
        self.weigh = nn.Conv2d(channels, 1, kernel_size=1)
        self.transform = nn.Sequential(
            nn.Conv2d(channels, middle, kernel_size=1),
            nn.LayerNorm([middle, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, channels, kernel_size=1),
        )
        nn.init.kaiming_normal_(self.weigh.weight, mode='fan_in', nonlinearity='relu')
        for parameter in (cast(Tensor, self.weigh.bias), *self.transform[-1].parameters()):
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        weights = self.weigh(maps).flatten(2).softmax(dim=2)
        context = torch.einsum('ncp,nip->nc', maps.flatten(2), weights.to(maps.dtype))
        return maps + self.transform(context[:, :, None, None])
