"""Distributions over box sides toward the teacher's."""

from torch import Tensor, nn

from ..checks import check_not_negative, check_positive
from ..registry import MODELS
from .divergences import as_float, kl_divergence
from .ranks import mean_over_ranks


@MODELS.register_module()
class DistributionLoss(nn.Module):
    """KL divergence of the distributions over a box's four sides, on foreground anchors.

    Source: Localization Distillation (Zheng et al., CVPR 2022), equation 2, on the main
    distillation region; the mean over sides and foreground anchors, in distributed training
    those of all ranks, times the squared temperature.

    Args:
        temperature (float): Of both softmaxes.
        loss_weight (float): Factor of the loss.

    Raises:
        ConfigError: ``temperature`` is not above 0, or ``loss_weight`` is below 0.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import DistributionLoss
        >>> student, teacher = torch.zeros(3, 4 * 16), torch.arange(3.0 * 64).reshape(3, 64)
        >>> loss = DistributionLoss()
        >>> f'{loss(student, teacher, torch.tensor([True, False, True])).item():.4f}'
        '2.4964'
    """

    def __init__(self, temperature: float = 10.0, loss_weight: float = 0.25) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        check_not_negative(loss_weight=loss_weight)
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, student_sides: Tensor, teacher_sides: Tensor, foreground: Tensor) -> Tensor:
        """The loss.

        Args:
            student_sides (Tensor): (R, 4 B), the logits of B bins for each side.
            teacher_sides (Tensor): (R, 4 B).
            foreground (Tensor): (R,) bool; the other rows do not count.

        Returns:
            Tensor: A scalar; an exact 0 where no row counts.
        """
        student, teacher = (
            (sides.unflatten(1, (4, -1)) / self.temperature).log_softmax(dim=2)
            for sides in as_float(student_sides, teacher_sides.detach())
        )
        divergence = kl_divergence(student, teacher, dim=2).mean(dim=1)
        count = foreground.sum()
        count = mean_over_ranks(count) if self.training else count.clamp(min=1)
        total = (divergence * foreground).sum() / count
        return self.temperature**2 * total * self.loss_weight
