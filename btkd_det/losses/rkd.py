"""RKD: how the images of a batch lie to each other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..registry import MODELS
from .feature_loss import FeatureLoss


class _RKDLoss(FeatureLoss):
    """A loss between the relations of a batch's images, each a vector: its map's mean.

    Channels may differ, so there is no adapter.

    Args:
        l2_norm (bool): Whether each image's vector has the length 1.
        loss_weight, **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.
    """

    def __init__(self, l2_norm: bool = True, loss_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(loss_weight=loss_weight, **kwargs)
        self.l2_norm = l2_norm

    def fit(self, student_shapes: Sequence[tuple], teacher_shapes: Sequence[tuple]) -> None:
        """Pair the levels; shapes are of no consequence."""
        self.settle_levels(student_shapes, teacher_shapes)
        self.chosen(student_shapes, teacher_shapes)

    def adapted(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's map as it is."""
        return student

    def vectors(self, maps: Tensor, gate: Tensor | None) -> Tensor:
        """(N, C, H, W) to (N, C): the mean over the positions, or with a gate over its share."""
        if gate is None:
            found = maps.mean(dim=(2, 3))
        else:
            gate = F.interpolate(gate, maps.shape[2:])
            total = gate.sum(dim=(2, 3)).clamp_min(1e-12)
            found = (maps * gate).sum(dim=(2, 3)) / total
        return F.normalize(found, dim=1) if self.l2_norm else found


@MODELS.register_module()
class RKDDistanceLoss(_RKDLoss):
    """Smooth L1 between the distances of all pairs of a batch's images.

    The distances of each model are divided by their mean, those of 0 left out.

    Source: Relational Knowledge Distillation (Park et al., CVPR 2019), equations 4 to 6, in the
    form of MMRazor 1.0.0's ``DistanceWiseRKD``, whose weight for classifiers is 25. The image's
    vector is the mean of its map (global average pooling); with a gate (ours) its mean over the
    gate's share.

    Args:
        l2_norm (bool): Whether each image's vector has the length 1.
        loss_weight, **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import RKDDistanceLoss
        >>> _ = torch.manual_seed(0)
        >>> student, teacher = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
        >>> loss = RKDDistanceLoss()
        >>> f'{loss([student], [teacher]).item():.4f}'
        '0.0000'
    """

    def __init__(self, l2_norm: bool = True, loss_weight: float = 25.0, **kwargs: Any) -> None:
        super().__init__(l2_norm, loss_weight, **kwargs)

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Mean over all ordered pairs, each image with itself included."""
        # Products of matrices are what autocast puts into half precision.
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = (distances(self.vectors(maps, gate)) for maps in (student, teacher))
            return F.smooth_l1_loss(student, teacher)


@MODELS.register_module()
class RKDAngleLoss(_RKDLoss):
    """Smooth L1 between the angles that any three of a batch's images make.

    Source: Relational Knowledge Distillation (Park et al., CVPR 2019), equations 7 and 8, in the
    form of MMRazor 1.0.0's ``AngleWiseRKD``, whose weight for classifiers is 50. The image's
    vector is as in :class:`RKDDistanceLoss`. Memory grows with the third power of the batch.

    Args:
        l2_norm (bool): Whether each image's vector has the length 1.
        loss_weight, **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import RKDAngleLoss
        >>> _ = torch.manual_seed(0)
        >>> student, teacher = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
        >>> loss = RKDAngleLoss()
        >>> f'{loss([student], [teacher]).item():.4f}'
        '0.0000'
    """

    def __init__(self, l2_norm: bool = True, loss_weight: float = 50.0, **kwargs: Any) -> None:
        super().__init__(l2_norm, loss_weight, **kwargs)

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Mean over all ordered triples, those with one image twice included."""
        # Products of matrices are what autocast puts into half precision.
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = (angles(self.vectors(maps, gate)) for maps in (student, teacher))
            return F.smooth_l1_loss(student, teacher)


def distances(vectors: Tensor, eps: float = 1e-12) -> Tensor:
    """Euclidean distances of all pairs, divided by their mean.

    Args:
        vectors (Tensor): (N, C).
        eps (float): The least squared distance of two images.

    Returns:
        Tensor: (N, N), 0 on the diagonal.
    """
    squares = vectors.square().sum(dim=1)
    found = (squares[:, None] + squares - 2 * vectors @ vectors.T).clamp_min(eps).sqrt()
    others = 1 - torch.eye(len(vectors), dtype=found.dtype, device=found.device)
    found = found * others
    return found / (found.sum() / others.sum().clamp_min(1)).clamp_min(eps)


def angles(vectors: Tensor) -> Tensor:
    """Cosines of the angles at the first of any three images.

    Args:
        vectors (Tensor): (N, C).

    Returns:
        Tensor: (N, N, N), 0 where two of them are the same image.
    """
    directions = F.normalize(vectors - vectors[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
