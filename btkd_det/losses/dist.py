"""Knowledge distillation from a stronger teacher: relations instead of values."""

from torch import Tensor

from ..checks import check_not_negative, check_positive
from ..registry import MODELS
from .logit_loss import LogitLoss, count_rows

EPS = 1e-8
#: Values whose deviations are this small beside themselves are one value, and rounding.
ROUNDING = 1e-6


def pearson(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson correlation along one dimension; 0 where one side is constant.

    Args:
        a (Tensor): (N, C).
        b (Tensor): (N, C).
        dim (int): Dimension that is summed over.

    Returns:
        Tensor: (N,) or (C,), from -1 to 1.
    """
    centered = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    return _cosine(centered, (a, b), dim)


def _cosine(centered: tuple[Tensor, Tensor], whole: tuple[Tensor, Tensor], dim: int) -> Tensor:
    """Of centered values; where one side is constant, nothing pulls it anywhere.

    Beside the published code's constant the gradient there would be 1e8 times the other side.
    """
    a, b = centered
    sizes = a.norm(dim=dim), b.norm(dim=dim)
    limits = [ROUNDING * part.detach().norm(dim=dim) for part in whole]
    constant = (sizes[0].detach() <= limits[0]) | (sizes[1].detach() <= limits[1])
    product = (a * b).sum(dim).masked_fill(constant, 0)
    return product / (sizes[0] * sizes[1] + EPS).masked_fill(constant, 1)


def pearson_of_columns(a: Tensor, b: Tensor, counted: Tensor | None = None) -> Tensor:
    """:func:`pearson` along the rows.

    Args:
        a (Tensor): (N, C).
        b (Tensor): (N, C).
        counted (Tensor, optional): Rows that count, (N,) bool. None means all.

    Returns:
        Tensor: (C,), from -1 to 1.
    """
    if counted is None:
        return pearson(a, b, dim=0)
    others = ~counted.unsqueeze(1)
    number = count_rows(a, counted)
    # In place of its mean, a row that does not count adds to no sum.
    a, b = a.masked_fill(others, 0), b.masked_fill(others, 0)
    means = a.sum(dim=0) / number, b.sum(dim=0) / number
    centered = (a - means[0]).masked_fill(others, 0), (b - means[1]).masked_fill(others, 0)
    return _cosine(centered, (a, b), dim=0)


@MODELS.register_module()
class DISTLoss(LogitLoss):
    """`Knowledge Distillation from A Stronger Teacher <https://arxiv.org/abs/2205.10536>`_.

    ``T^2 * (inter * (1 - Pearson over classes) + intra * (1 - Pearson over rows))`` of the two
    softmaxes at T. The inter part is one value per row. The intra part compares columns, so
    it is one value per batch; :meth:`per_row` adds that value to each row, and the mean is the
    paper's loss. Inside :class:`~btkd_det.losses.BTKDLoss` it is thus computed on the
    rectified teacher over right and wrong rows together, and counts as much as the weights of
    the rows add up to: in full, whatever gamma is, in a batch that has both.

    Args:
        inter_weight (float): Defaults to 1.0.
        intra_weight (float): Defaults to 1.0.
        temperature (float): Defaults to 1.0.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> import torch
        >>> from btkd_det.losses import DISTLoss
        >>> student = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
        >>> teacher = torch.tensor([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0]])
        >>> labels = torch.tensor([0, 1])
        >>> loss = DISTLoss(temperature=1.0)
        >>> f'{loss(student, teacher, labels).item():.4f}'
        '0.7262'
    """

    needs_labels = False

    def __init__(
        self,
        inter_weight: float = 1.0,
        intra_weight: float = 1.0,
        temperature: float = 1.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        check_not_negative(inter_weight=inter_weight, intra_weight=intra_weight)
        check_positive(temperature=temperature)
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.temperature = temperature

    def per_row(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """The row's inter part plus the batch's intra part; see :meth:`LogitLoss.per_row`."""
        student = (student_logits / self.temperature).softmax(dim=1)
        teacher = (teacher_logits / self.temperature).softmax(dim=1)
        inter = 1 - pearson(student, teacher, dim=1)
        intra = 1 - pearson_of_columns(student, teacher, counted).mean()
        return (self.inter_weight * inter + self.intra_weight * intra) * self.temperature**2
