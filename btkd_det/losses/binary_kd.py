"""KD for heads that ask each class separately."""

from torch import Tensor

from ..checks import check_not_negative, check_positive
from ..registry import MODELS
from .divergences import as_float, binary_kl
from .logit_loss import LogitLoss


@MODELS.register_module()
class BinaryKDLoss(LogitLoss):
    """KD in binary form, for sigmoid heads: each class is a question of its own.

    Source: Hinton's KD (2015) with a Bernoulli distribution per class in place of one over all
    classes, as used on dense heads.

    Args:
        temperature (float): Divides all logits; the factor of its square is included.
        focus (float): Each divergence is weighed by ``|p_s - p_t| ** focus``, so that what the two
            agree on, the background of most anchors, does not drown the rest. The factor has no
            gradient. Source: the modulating factor of focal loss (arXiv 1708.02002) in its form for
            soft targets (Quality Focal Loss, arXiv 2006.04388). Defaults to 0: none.
        background (bool): The last column stands for background and is left out, as the
            distilled single-stage detectors give it.
        loss_weight (float): Factor of the loss.

    Raises:
        ConfigError: ``temperature`` is not above 0, or ``focus`` or ``loss_weight`` is below 0.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import BinaryKDLoss
        >>> student = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])
        >>> teacher = torch.tensor([[3.0, -1.0], [2.0, -2.0]])
        >>> loss = BinaryKDLoss()
        >>> f'{loss(student, teacher, torch.tensor([0, 1])).item():.4f}'
        '0.4298'
    """

    #: A sigmoid takes the logarithm of a probability for a small logit.
    host_spaces = ('logits',)

    independent_rows = True
    #: The divergence itself is bounded, which spares a dense head eight passes over its logits.
    bounds_logits = False

    def __init__(
        self,
        temperature: float = 1.0,
        background: bool = True,
        loss_weight: float = 1.0,
        focus: float = 0.0,
    ) -> None:
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        check_not_negative(focus=focus)
        self.focus = focus
        self.temperature = temperature
        self.background = background

    def per_row(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over the classes of the divergences, (N,)."""
        student_logits, teacher_logits = as_float(student_logits, teacher_logits.detach())
        if self.background:
            student_logits, teacher_logits = student_logits[:, :-1], teacher_logits[:, :-1]
        if self.temperature != 1:
            student_logits = student_logits / self.temperature
            teacher_logits = teacher_logits / self.temperature
        divergences = binary_kl(student_logits, teacher_logits, self.focus)
        return self.temperature**2 * divergences.sum(dim=1)
