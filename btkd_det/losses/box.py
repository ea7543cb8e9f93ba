"""Box deltas toward the teacher's, put right where its box misses the object."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_fraction, check_not_negative
from ..registry import MODELS
from .divergences import as_float
from .ranks import mean_over_ranks


@MODELS.register_module()
class BoxLoss(nn.Module):
    """Smooth L1 between the student's box deltas and the teacher's, on foreground RoIs.

    Where the teacher's box overlaps the ground truth by at least ``iou_threshold``, the target
    is the teacher's box; where it does not, the mean of the teacher's box and the ground truth,
    both as deltas of the RoI. The sum over a RoI's four deltas is averaged over all foreground
    RoIs, in distributed training those of all ranks; none of them cost an exact 0.

    Source: ours, from the BTKD authors' remark that a wrong box is a bias of the teacher too.

    Args:
        iou_threshold (float): See above.
        beta (float): Where the loss turns from squared to absolute, in units of the deltas.
        loss_weight (float): Factor of the loss.

    Attributes:
        log_vars (dict[str, Tensor]): ``right``, the share of foreground RoIs on which the
            teacher's box overlaps enough.

    Raises:
        ConfigError: ``iou_threshold`` is not in [0, 1), or a factor is below 0.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import BoxLoss
        >>> student, truth = torch.zeros(2, 4), torch.full((2, 4), 2.0)
        >>> teacher = torch.ones(2, 4)
        >>> loss = BoxLoss(beta=0.1)
        >>> ious, foreground = torch.tensor([0.8, 0.2]), torch.tensor([True, True])
        >>> # The targets are the teacher's 1, and (1 + 2) / 2 where it overlaps too little.
        >>> f'{loss(student, teacher, truth, ious, foreground).item():.3f}'
        '4.800'
    """

    def __init__(
        self, iou_threshold: float = 0.5, beta: float = 1.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        check_fraction(iou_threshold=iou_threshold)
        check_not_negative(beta=beta, loss_weight=loss_weight)
        self.iou_threshold = iou_threshold
        self.beta = beta
        self.loss_weight = loss_weight
        self.log_vars: dict[str, Tensor] = {}

    def forward(
        self,
        student_deltas: Tensor,
        teacher_deltas: Tensor,
        target_deltas: Tensor,
        ious: Tensor,
        foreground: Tensor,
    ) -> Tensor:
        """The loss.

        Args:
            student_deltas (Tensor): (N, 4), of each RoI's assigned class.
            teacher_deltas (Tensor): (N, 4), the teacher's box as deltas of the same coder.
            target_deltas (Tensor): (N, 4), the ground truth as deltas.
            ious (Tensor): (N,), overlap of the teacher's box with the ground truth.
            foreground (Tensor): (N,) bool. What stands in other rows is not read, NaN included.

        Returns:
            Tensor: A scalar.
        """
        student, teacher, truth = as_float(
            student_deltas, teacher_deltas.detach(), target_deltas.detach()
        )
        rows = foreground.unsqueeze(1)
        right = foreground & (ious >= self.iou_threshold)
        target = torch.where(right.unsqueeze(1), teacher, (teacher + truth) / 2)
        target = torch.where(rows, target, student.detach())
        count = foreground.sum()
        self.log_vars = {'right': right.sum() / count.clamp(min=1)}
        count = mean_over_ranks(count) if self.training else count.clamp(min=1)
        loss = F.smooth_l1_loss(student, target, beta=self.beta, reduction='none')
        return loss.sum() / count * self.loss_weight
