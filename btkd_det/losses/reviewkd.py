"""ReviewKD: each level of the student reviews what the deeper ones know."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_count
from ..registry import MODELS
from .batch_norm import BatchNorm
from .divergences import as_float
from .feature_loss import FeatureLoss, Shape, as_levels, for_layer, weighted_sum

POOLS = (4, 2, 1)


@MODELS.register_module()
class ReviewKDLoss(FeatureLoss):
    """Attention-based fusion over the student's levels, then the hierarchical context loss.

    From the deepest level to the shallowest, each of the student's maps is fused with what came
    from the level below it by an attention map learned for that purpose, and the result is
    compared with the teacher's map of the same level. The fusion needs to know the channels:
    the distilled models call :meth:`fit` when they are built.

    Source: Distilling Knowledge via Knowledge Review (Chen et al., CVPR 2021), figures 2 and 3.
    The literature's weights for detection: 1.2 (R101 to R18), 1.0 (R101 to R50), 2.0 (R50 to
    MobileNetV2).

    Args:
        mid_channels (int): Width of the fusion.
        loss_weight, **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Raises:
        ConfigError: ``mid_channels`` is not above 0; see also the base.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import ReviewKDLoss
        >>> _ = torch.manual_seed(0)
        >>> loss = ReviewKDLoss(mid_channels=4)
        >>> loss.fit([(4, 8, 8)], [(8, 8, 8)])  # channels, height and width of each level
        >>> student, teacher = torch.randn(2, 4, 8, 8), torch.randn(2, 8, 8, 8)
        >>> loss([student], [teacher]) > 0
        tensor(True)
        >>> sorted({name.split('.')[0] for name, _ in loss.named_parameters()})
        ['fusions']
    """

    def __init__(self, loss_weight: float = 1.0, mid_channels: int = 256, **kwargs: Any) -> None:
        super().__init__(loss_weight=loss_weight, **kwargs)
        check_count(mid_channels=mid_channels)
        self.mid_channels = mid_channels
        self.fusions = nn.ModuleDict()

    def fit(self, student_shapes: Sequence[Shape], teacher_shapes: Sequence[Shape]) -> None:
        """Make the fusions; see :meth:`FeatureLoss.fit`."""
        self.settle_levels(student_shapes, teacher_shapes)
        pairs = self.chosen(student_shapes, teacher_shapes)
        for level, partner in pairs:
            self.fusions[str(level)] = AttentionFusion(
                student_shapes[level][0],
                self.mid_channels,
                teacher_shapes[partner][0],
                fuse=level != pairs[-1][0],
            )

    def forward(
        self,
        student_maps: Sequence[Tensor] | Tensor,
        teacher_maps: Sequence[Tensor] | Tensor,
        gate: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """See :meth:`FeatureLoss.forward`."""
        if not self.fusions:
            raise ValueError(
                'ReviewKDLoss learns a fusion of the levels; call fit(student_shapes, '
                'teacher_shapes) before training, as the distilled models do'
            )
        ours, its = as_levels(student_maps), as_levels(teacher_maps)
        total, deeper = ours[0][:0].float().sum(), None
        for level, partner in self.chosen(ours, its)[::-1]:
            teacher = its[partner].detach().float()
            if teacher.numel() == 0:
                continue
            fusion: Any = self.fusions[str(level)]
            own = for_layer(ours[level], fusion.reduce[0])
            fused, deeper = fusion(own, deeper, teacher.shape[2:])
            total = total + self.level(
                fused.float(), teacher, None if gate is None else gate[partner]
            )
        if deeper is None:
            total = total + self.unused()
        return total * self.loss_weight

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """The hierarchical context of one level."""
        return hierarchical_context(student, teacher, gate)


class AttentionFusion(nn.Module):
    """One step of the review: a map of the student and what came from the deeper levels.

    Args:
        in_channels (int): Of the student's map.
        mid_channels (int): Of what is passed on to the next level.
        out_channels (int): Of the teacher's map.
        fuse (bool): Whether anything came from a deeper level.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, fuse: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False),
            BatchNorm(mid_channels),
        )
        self.attend = nn.Conv2d(2 * mid_channels, 2, kernel_size=1) if fuse else None
        self.expand = nn.Sequential(
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=False),
            BatchNorm(out_channels),
        )

    def forward(
        self, student: Tensor, deeper: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            student (Tensor): (N, C, H, W).
            deeper (Tensor | None): (N, M, h, w) of the level below.
            size (tuple[int, int]): Height and width of the teacher's map.

        Returns:
            tuple[Tensor, Tensor]: (N, C', *size) for the teacher, (N, M, H, W) to pass on.
        """
        own = self.reduce(student)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, own.shape[2:], mode='nearest')
            share = self.attend(torch.cat([own, deeper], dim=1)).sigmoid()
            own = own * share[:, :1] + deeper * share[:, 1:]
        resized = own
        if own.shape[2:] != tuple(size):
            resized = F.interpolate(own, size, mode='nearest')
        return self.expand(resized), own


def hierarchical_context_loss(
    student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]
) -> Tensor:
    """Mean squared error at several resolutions, summed over the levels.

    Args:
        student_maps (Sequence[Tensor]): (N, C, H, W) each.
        teacher_maps (Sequence[Tensor]): (N, C, H, W) each.

    Returns:
        Tensor: A scalar.
    """
    pairs = zip(student_maps, teacher_maps, strict=True)
    return sum((hierarchical_context(*pair) for pair in pairs), start=torch.zeros(()))


def hierarchical_context(student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
    """The hierarchical context loss of one level.

    Full size weighs 1; average pools to 4 x 4, 2 x 2 and 1 x 1, those smaller than the map's
    height, weigh 1/2, 1/4, 1/8 in turn; divided by the sum of the weights used.

    Source: Chen et al., CVPR 2021, figure 3(b), and their published code. With a gate (ours) the
    error at full size is gated, and the maps are gated before they are pooled.

    Args:
        student (Tensor): (N, C, H, W).
        teacher (Tensor): (N, C, H, W).
        gate (Tensor, optional): (N, 1, H, W).

    Returns:
        Tensor: A scalar.
    """
    student, teacher = as_float(student, teacher)
    loss = weighted_sum((student - teacher).square().mean(dim=1), gate)
    if gate is not None:
        kept = (gate > 0).to(student.dtype)
        student, teacher = student * kept, teacher * kept
    weight = total = 1.0
    for size in POOLS:
        if size >= student.shape[2]:
            continue
        weight /= 2
        total += weight
        pooled = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
        loss = loss + weight * F.mse_loss(pooled[0], pooled[1])
    return loss / total
