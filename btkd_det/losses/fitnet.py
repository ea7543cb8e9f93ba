"""FitNets: the student's features toward the teacher's, as they are."""

from torch import Tensor

from ..registry import MODELS
from .feature_loss import FeatureLoss, weighted_sum


@MODELS.register_module()
class FitNetLoss(FeatureLoss):
    """Mean squared error, after an adapter where channels differ.

    Source: FitNets (Romero et al., ICLR 2015), its hint loss.

    Args:
        **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import FitNetLoss
        >>> _ = torch.manual_seed(0)
        >>> student, teacher = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
        >>> loss = FitNetLoss()
        >>> f'{loss([student], [teacher]).item():.4f}'
        '2.0036'
    """

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Mean over channels and positions of the squared difference."""
        return weighted_sum((student - teacher).square().mean(dim=1), gate)
