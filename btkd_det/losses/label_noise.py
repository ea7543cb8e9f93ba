"""How many labels are wrong, by what teacher and student agree on."""

import torch
from torch import Tensor, nn

from .ranks import sum_over_ranks


class LabelNoise(nn.Module):
    """A moving estimate of the share of wrong labels (ours).

    Where the teacher is surest its class is nearly always the true one, so that a label that
    differs there is probably wrong: the anchor points of Patrini et al. (2017, arXiv 1609.03683).
    A teacher that learned its own training's wrong labels by heart is sure, too, and wrong. The
    student tells the two apart: it learns what generalizes, not the noise. Hence a disagreement
    counts as far as the student sides with the teacher: ::

        noise = (label != choice among the surest rows)
                * (student says the choice) / (student says the choice or the label)

    The surest rows are the tenth with the largest probability of the teacher's choice; the counts
    are moving sums by ten bins of that probability, the same on every rank and in the checkpoint.

    Args:
        momentum (float): Share of the past that an iteration keeps. Defaults to 0.99.

    Attributes:
        sums (Tensor): Moving sums of rows, of disagreements, and of those where the student
            says the label and the teacher's choice, by bin, (4, 10) float32 buffer.
    """

    BINS = 10
    SUREST = 0.1
    LOWEST, HIGHEST = 0.01, 0.9

    def __init__(self, momentum: float = 0.99):
        super().__init__()
        self.momentum = momentum
        self.register_buffer('sums', torch.zeros(4, self.BINS))

    @torch.no_grad()
    def forward(
        self,
        confidence: Tensor,
        predicted: Tensor,
        student_predicted: Tensor,
        labels: Tensor,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Count the rows, in training, and give the estimate.

        Args:
            confidence (Tensor): The teacher's largest probability, (N,).
            predicted (Tensor): The teacher's choice, (N,).
            student_predicted (Tensor): The student's, (N,).
            labels (Tensor): (N,).
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.

        Returns:
            Tensor: From 0.01 to 0.9, without dimensions; 0.01 before any row.
        """
        if self.training:
            differs = predicted != labels
            rows = torch.stack(
                [
                    torch.ones_like(differs),
                    differs,
                    differs & (student_predicted == labels),
                    differs & (student_predicted == predicted),
                ]
            )
            if counted is not None:
                rows = rows & counted
            bins = (confidence * self.BINS).long().clamp_(max=self.BINS - 1)
            batch = torch.zeros_like(self.sums).index_add_(1, bins, rows.to(self.sums.dtype))
            self.sums.mul_(self.momentum).add_(sum_over_ranks(batch))
        return self.estimate()

    def estimate(self) -> Tensor:
        """The share of wrong labels by the counts so far, without dimensions."""
        rows = self.sums[0].flip(0)
        surer = rows.cumsum(0) - rows
        wanted = (self.SUREST * rows.sum() - surer).clamp(min=0)
        share = (wanted / rows.clamp(min=torch.finfo(rows.dtype).tiny)).clamp(max=1)
        number, differs, label, choice = (self.sums.flip(1) * share).sum(dim=1).unbind()
        # One vote for each side before any is counted.
        sides = (choice + 1) / (choice + label + 2)
        noise = differs / number.clamp(min=torch.finfo(rows.dtype).tiny) * sides
        return noise.clamp(self.LOWEST, self.HIGHEST)
