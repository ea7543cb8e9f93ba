"""WSLD: soft labels weighed by what the student has still to learn of a sample."""

import torch
from torch import Tensor

from ..checks import check_positive
from ..registry import MODELS
from .logit_loss import LogitLoss


@MODELS.register_module()
class WSLDLoss(LogitLoss):
    """`Rethinking Soft Labels for Knowledge Distillation <https://arxiv.org/abs/2102.00650>`_.

    Zhou et al., ICLR 2021, equations 9 and 10. Each row's cross entropy with the teacher's
    softened probabilities, times T^2, weighs 1 - exp(-s / t), where s and t are the cross
    entropies of student and teacher with the label: a row that the student has learned better
    than the teacher counts less. The form is MMRazor 1.0.0's ``WSLD``, whose values for
    ResNet-34 to ResNet-18 on ImageNet are ``temperature=2, loss_weight=2.5``.

    It is a cross entropy: equal logits cost the teacher's entropy and have no gradient.

    Args:
        temperature (float): Defaults to 2.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import WSLDLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = WSLDLoss(temperature=2.0)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '2.4120'
    """

    independent_rows = True

    def __init__(self, temperature: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        check_positive(temperature=temperature)
        self.temperature = temperature

    def per_row(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """The weighed cross entropy; see :meth:`LogitLoss.per_row`."""
        weight = focus(student_logits.detach(), teacher_logits, labels)
        target = (teacher_logits / self.temperature).softmax(dim=1)
        log_student = (student_logits / self.temperature).log_softmax(dim=1)
        return self.temperature**2 * weight * -(target * log_student).sum(dim=1)


def focus(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """The weight of each row: 1 - exp(-s / t).

    Args:
        student_logits, teacher_logits (Tensor): (N, C).
        labels (Tensor): (N,).

    Returns:
        Tensor: (N,), from 0 to 1.
    """
    ours, its = (
        torch.nn.functional.cross_entropy(logits, labels, reduction='none')
        for logits in (student_logits, teacher_logits)
    )
    return 1 - (-ours / (its + 1e-7)).exp()
