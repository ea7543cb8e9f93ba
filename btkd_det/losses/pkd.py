"""PKD: features by their Pearson correlation."""

from typing import Any

import torch
from torch import Tensor

from ..registry import MODELS
from .divergences import HALF
from .feature_loss import FeatureLoss

#: A channel whose deviation is smaller counts as constant; the others' are larger by so much.
LEAST_DEVIATION = 1e-6
#: Elements of a map that are normalized at a time.
AT_A_TIME = 2**22


@MODELS.register_module()
class PKDLoss(FeatureLoss):
    """Mean squared error of normalized maps: magnitudes do not matter, patterns do.

    Each channel is normalized over batch and positions; half the squared error between two
    normalized channels is 1 minus their Pearson correlation (up to the unbiased deviation). In
    training nothing is held but the maps themselves, in the precision that they have; the gradient
    has no gradient of its own.

    Source: PKD (Cao et al., NeurIPS 2022), equation 5. With a gate (ours) the normalization is
    that of the whole map, and the squared error is gated.

    Args:
        **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import PKDLoss
        >>> _ = torch.manual_seed(0)
        >>> student, teacher = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
        >>> loss = PKDLoss(loss_weight=6.0)
        >>> f'{loss([student], [teacher]).item():.4f}'
        '5.6276'
    """

    in_float = False

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Half the mean squared difference of the normalized maps."""
        return _NormalizedError.apply(student, teacher, gate)


class _NormalizedError(torch.autograd.Function):
    """As a function of its own: autograd would keep four maps in float32.

    Some channels at a time, so that what is computed on the way is small beside a map; the
    backward pass computes it once more.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, gate: Tensor | None) -> Tensor:
        total = torch.zeros((), device=student.device, dtype=_precision(student))
        ctx.moments = []
        for part in _parts(student):
            ours, its = moments(student[:, part]), moments(teacher[:, part])
            error = normalized(student[:, part], *ours[:2])
            error.sub_(normalized(teacher[:, part], *its[:2])).square_()
            total += error.sum() if gate is None else error.mul_(gate).sum()
            ctx.moments.append((ours, its))
        ctx.save_for_backward(student, teacher, gate)
        return total / _count(student, gate)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        student, teacher, gate = ctx.saved_tensors
        found = torch.empty_like(student)
        factor = gradients[0] * 2 / _count(student, gate)
        freedom = max(student.numel() // student.shape[1] - 1, 1)
        for part, ((mean, factors, roots), its) in zip(_parts(student), ctx.moments, strict=True):
            ours = normalized(student[:, part], mean, factors)
            slope = (ours - normalized(teacher[:, part], *its[:2])).mul_(factor)
            if gate is not None:
                slope.mul_(gate)
            # What the deviation of the channel and its mean take from it.
            shared = (slope * ours).sum(dim=(0, 2, 3), keepdim=True) * roots / freedom
            slope.mul_(factors).sub_(ours.mul_(shared))
            found[:, part] = slope.sub_(slope.mean(dim=(0, 2, 3), keepdim=True))
        return found, None, None


def moments(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What normalizes each channel over batch, height and width, and what its gradient needs.

    Args:
        maps (Tensor): (N, C, H, W).

    Returns:
        tuple[Tensor, Tensor, Tensor]: (1, C, 1, 1) each, in float32 at least: means; the inverse
        of the unbiased deviations, and 1 for a channel that is constant, whose values are left
        small: what is divided by its deviation has a gradient beyond all others; the inverse of
        the deviations, 0 for such a channel, and for a single value.
    """
    maps = maps.to(_precision(maps))
    mean = maps.mean(dim=(0, 2, 3), keepdim=True)
    squares = (maps - mean).square_().sum(dim=(0, 2, 3), keepdim=True)
    deviation = (squares / max(maps.numel() // maps.shape[1] - 1, 1)).sqrt_()
    constant = deviation <= LEAST_DEVIATION
    inverse = (deviation + LEAST_DEVIATION).reciprocal_().masked_fill_(constant, 1.0)
    return mean, inverse, deviation.reciprocal_().masked_fill_(constant, 0.0)


def normalized(maps: Tensor, mean: Tensor, factors: Tensor) -> Tensor:
    """Maps (N, C, H, W) with :func:`moments` taken off, a tensor of its own in their precision."""
    return (maps - mean).mul_(factors)


def _precision(maps: Tensor) -> torch.dtype:
    return torch.float32 if maps.dtype in HALF else maps.dtype


def _parts(maps: Tensor) -> list[slice]:
    """The channels, as many at a time as :data:`AT_A_TIME` has room for."""
    channels = maps.shape[1]
    size = max(AT_A_TIME * channels // maps.numel(), 1)
    return [slice(first, first + size) for first in range(0, channels, size)]


def _count(maps: Tensor, gate: Tensor | None) -> int:
    """What the sum of squares is divided by: twice the channels, or without a gate elements."""
    return 2 * (maps.numel() if gate is None else maps.shape[1])
