"""PKD: features by their Pearson correlation."""

from torch import Tensor

from ..registry import MODELS
from .feature_loss import FeatureLoss, weighted_sum


@MODELS.register_module()
class PKDLoss(FeatureLoss):
    """Mean squared error of normalized maps: magnitudes do not matter, patterns do.

    Each channel is normalized over batch and positions; half the squared error between two
    normalized channels is 1 minus their Pearson correlation (up to the unbiased deviation).

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

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Half the mean squared difference of the normalized maps."""
        difference = normalize_channels(student) - normalize_channels(teacher)
        errors = difference.square().mean(dim=1)
        return (errors.mean() if gate is None else weighted_sum(errors, gate)) / 2


def normalize_channels(maps: Tensor, eps: float = 1e-6) -> Tensor:
    """Each channel with mean 0 and unbiased deviation 1 over batch, height and width.

    Args:
        maps (Tensor): (N, C, H, W).
        eps (float): Added to the deviation; a channel of a smaller deviation counts as constant.

    Returns:
        Tensor: (N, C, H, W). A single value per channel becomes 0.
    """
    centered = maps - maps.mean(dim=(0, 2, 3), keepdim=True)
    count = max(maps.numel() // maps.shape[1] - 1, 1)
    variance = centered.square().sum(dim=(0, 2, 3), keepdim=True) / count
    # The tiny addend keeps the gradient of the root finite where a channel is constant. Its values
    # are left small there, or their gradient would be 1 / eps times that of any other channel.
    deviation = (variance + 1e-30).sqrt() + eps
    return centered / deviation.masked_fill(variance <= eps**2, 1.0)
