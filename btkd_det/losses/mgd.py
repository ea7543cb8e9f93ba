"""MGD: the teacher's map out of a part of the student's."""

from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_fraction
from ..hints import Model
from ..registry import MODELS
from .level_modules import LevelModuleLoss


@MODELS.register_module()
class MGDLoss(LevelModuleLoss):
    """Squared error of a map that is generated from the student's with positions left out.

    Of each image a share ``mask_ratio`` of the positions, drawn anew in every call, is set to 0
    in all channels; two 3 x 3 convolutions with a ReLU between them, learned at each level,
    generate the teacher's map from what is left. The squared error is summed over channels and
    positions and averaged over images.

    Source: Masked Generative Distillation (Yang et al., ECCV 2022), equations 2 to 4, and the
    authors' code (``yzd-v/MGD``, ``det/mmdet/distillation/losses/mgd.py``). Their weights for
    detection: ``loss_weight=2e-5, mask_ratio=0.65`` for RetinaNet, at all five levels;
    ``loss_weight=5e-7, mask_ratio=0.45`` for Faster R-CNN, at ``levels=(0, 1, 2, 3)``. With a
    gate (ours) the error of each position is weighed by it; an even gate changes nothing.

    Args:
        mask_ratio (float): Share of the positions that are left out.
        loss_weight (float): Their alpha.
        **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.

    Raises:
        ConfigError: ``mask_ratio`` is not in [0, 1); see also the base.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import MGDLoss
        >>> _ = torch.manual_seed(0)
        >>> loss = MGDLoss(mask_ratio=0.45)
        >>> loss.fit([(8, 8, 8)], [(8, 8, 8)])  # channels, height and width of each level
        >>> student, teacher = torch.randn(2, 8, 8, 8), torch.randn(2, 8, 8, 8)
        >>> loss([student], [teacher]) > 0
        tensor(True)
        >>> sorted({name.split('.')[0] for name, _ in loss.named_parameters()})
        ['level_modules']
    """

    def __init__(self, mask_ratio: float = 0.65, loss_weight: float = 2e-5, **kwargs: Any) -> None:
        super().__init__(loss_weight=loss_weight, **kwargs)
        check_fraction(mask_ratio=mask_ratio)
        self.mask_ratio = mask_ratio

    def level_module(self, channels: int) -> nn.Module:
        """What generates the teacher's map."""
        return nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def mask(self, maps: Tensor) -> Tensor:
        """Draw which positions stay.

        Args:
            maps (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, 1, H, W), 1 or 0.
        """
        drawn = torch.rand(len(maps), 1, *maps.shape[2:], device=maps.device)
        return (drawn <= 1 - self.mask_ratio).to(maps.dtype)

    def level_with(
        self, module: Model, student: Tensor, teacher: Tensor, extra: dict[str, Tensor]
    ) -> Tensor:
        """Sum of the squared errors of an image."""
        generated = module(student * self.mask(student)).to(teacher.dtype)
        errors = (generated - teacher).square().sum(dim=1)
        gate = extra.get('gate')
        if gate is None:
            return errors.sum() / len(errors)
        return (errors * gate.squeeze(1)).sum() * errors[0].numel()
