"""CWD: where in the picture each channel looks."""

from typing import Any

from torch import Tensor

from ..checks import check_positive
from ..registry import MODELS
from .divergences import kl_divergence
from .feature_loss import FeatureLoss


@MODELS.register_module()
class CWDLoss(FeatureLoss):
    """KL divergence between the spatial distributions of each channel.

    A softmax over the positions makes a distribution of each channel; the divergence from the
    student's to the teacher's is summed over the positions and averaged over images and
    channels, times the squared temperature.

    Source: Channel-wise knowledge distillation (Shu et al., ICCV 2021), equation 4. With a gate
    (ours) both distributions are restricted to the gate: positions weigh in proportion to it,
    those of weight 0 are left out, and so are images without any other.

    Args:
        temperature (float): Of the softmax.
        loss_weight, **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Raises:
        ConfigError: ``temperature`` is not above 0; see also the base.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import CWDLoss
        >>> _ = torch.manual_seed(0)
        >>> student, teacher = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
        >>> loss = CWDLoss()
        >>> f'{loss([student], [teacher]).item():.4f}'
        '1.0233'
    """

    def __init__(self, temperature: float = 1.0, loss_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(loss_weight=loss_weight, **kwargs)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Squared temperature times the mean divergence of a channel."""
        student, teacher = (
            student.flatten(2) / self.temperature,
            teacher.flatten(2) / self.temperature,
        )
        if gate is not None:
            # A logarithm that is finite at 0, and small enough to leave no trace there.
            offset = gate.flatten(2).clamp_min(1e-37).log()
            student, teacher = student + offset, teacher + offset
        student, teacher = student.log_softmax(dim=2), teacher.log_softmax(dim=2)
        divergence = kl_divergence(student, teacher, dim=2).mean(dim=1)
        if gate is None:
            return self.temperature**2 * divergence.mean()
        counts = (gate.flatten(1) > 0).any(dim=1).to(divergence.dtype)
        return self.temperature**2 * (divergence * counts).sum() / counts.sum().clamp(min=1)
