"""FBKD: features by attention, and the relation of all positions."""

from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_not_negative, check_positive
from ..errors import ConfigError
from ..hints import Model
from ..registry import MODELS
from .fgd import attention
from .level_modules import LevelModuleLoss
from .non_local import NonLocal


@MODELS.register_module()
class FBKDLoss(LevelModuleLoss):
    """Distances between maps, their means over positions and channels, and their relations.

    Four Euclidean distances over the whole batch, each between the teacher and an adaptation of
    the student that is learned: of the maps, each position weighed by the mean of both
    attentions (``feature_weight``); of the means over positions (``channel_weight``); of the
    means over channels (``spatial_weight``); of what a non-local block makes of each map
    (``relation_weight``), the teacher's block learning, too.

    Source: Improve Object Detection with Feature-based Knowledge Distillation (Zhang and Ma,
    ICLR 2021), equations 1 to 7, with the values of MMRazor 1.0.0 (``FBKDLoss`` and its two
    connectors), whose defaults are those of the authors' code. For Faster R-CNN R101 to R50
    MMRazor has these weights and ``reduction=4, pool=16`` at level 0, ``reduction=4, pool=8`` at
    level 1, ``reduction=2, pool=4`` at the levels 2 and 3: its ``maxpool_stride`` of 8, 4 and 2
    comes on top of a pooling by 2. With a gate (ours) each position weighs by it in all four; an
    even gate changes nothing.

    Args:
        temperature (float): Of the attentions.
        feature_weight, channel_weight, spatial_weight, relation_weight (float): See above.
        reduction (int): The non-local block has its maps' channels divided by it.
        pool (int): Side of the squares over which the block pools its keys and values.
        loss_weight, **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Raises:
        ConfigError: ``temperature`` is not above 0, a weight is below 0, or ``reduction`` or
            ``pool`` is no whole number above 0; see also the base.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import FBKDLoss
        >>> _ = torch.manual_seed(0)
        >>> loss = FBKDLoss(reduction=2, pool=2)
        >>> loss.fit([(8, 8, 8)], [(8, 8, 8)])  # channels, height and width of each level
        >>> student, teacher = torch.randn(2, 8, 8, 8), torch.randn(2, 8, 8, 8)
        >>> loss([student], [teacher]) > 0
        tensor(True)
        >>> sorted({name.split('.')[0] for name, _ in loss.named_parameters()})
        ['level_modules']
    """

    def __init__(
        self,
        temperature: float = 0.5,
        feature_weight: float = 7e-5,
        channel_weight: float = 4e-3,
        spatial_weight: float = 4e-3,
        relation_weight: float = 7e-5,
        reduction: int = 2,
        pool: int = 2,
        loss_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(loss_weight=loss_weight, **kwargs)
        check_positive(temperature=temperature)
        check_not_negative(
            feature_weight=feature_weight,
            channel_weight=channel_weight,
            spatial_weight=spatial_weight,
            relation_weight=relation_weight,
        )
        for field, value in (('reduction', reduction), ('pool', pool)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f'{field}: got {value!r}; valid: a whole number above 0')
        self.temperature = temperature
        self.weights = (feature_weight, channel_weight, spatial_weight, relation_weight)
        self.reduction, self.pool = reduction, pool

    def level_module(self, channels: int) -> nn.Module:
        """The adaptations of the student and the non-local blocks of both."""
        return nn.ModuleDict(
            {
                'feature': nn.Conv2d(channels, channels, kernel_size=1),
                'channel': nn.Linear(channels, channels),
                'spatial': nn.Conv2d(1, 1, kernel_size=3, padding=1),
                'student': NonLocal(channels, self.reduction, self.pool),
                'teacher': NonLocal(channels, self.reduction, self.pool),
                'relation': nn.Conv2d(channels, channels, kernel_size=1),
            }
        )

    def level_with(
        self, module: Model, student: Tensor, teacher: Tensor, extra: dict[str, Tensor]
    ) -> Tensor:
        """The weighted sum of the four distances."""
        ours, its = (attention(maps, self.temperature)[0] for maps in (student.detach(), teacher))
        mask = (ours + its) / 2
        gate = extra.get('gate')
        # A factor of 1 at every position where there is no gate, or an even one.
        weight = torch.ones_like(mask) if gate is None else gate * gate.numel()
        root = weight.sqrt()
        relation = module['relation'](module['student'](student))
        pairs = (
            (module['feature'](student) * (mask.sqrt() * root), teacher * (mask.sqrt() * root)),
            (
                module['channel']((student * weight).mean(dim=(2, 3))),
                (teacher * weight).mean(dim=(2, 3)),
            ),
            (
                module['spatial'](student.mean(dim=1, keepdim=True)) * root,
                teacher.mean(dim=1, keepdim=True) * root,
            ),
            (relation * root, module['teacher'](teacher) * root),
        )
        weighted = [w * _distance(*pair) for w, pair in zip(self.weights, pairs, strict=True)]
        return torch.stack(weighted).sum()


def _distance(ours: Tensor, its: Tensor) -> Tensor:
    """The Euclidean norm of a difference; its gradient is 0 where both are equal."""
    return torch.linalg.vector_norm(ours.to(its.dtype) - its)
