"""How many labels are wrong, by what teacher and student agree on."""

from collections.abc import Iterable
from typing import Any

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
    sums: Tensor

    def __init__(self, momentum: float = 0.99) -> None:
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
            with_label = differs & (student_predicted == labels)
            with_choice = differs & (student_predicted == predicted)
            # A teacher whose logits are not finite has no confidence, and counts in no bin.
            known = confidence == confidence
            known = known if counted is None else known & counted
            rows = torch.stack([known, differs, with_label, with_choice]) & known
            bins = (confidence * self.BINS).long().clamp_(0, self.BINS - 1)
            batch = torch.zeros_like(self.sums).index_add_(1, bins, rows.to(self.sums.dtype))
            self.sums.mul_(self.momentum).add_(sum_over_ranks(batch))
        return self.estimate()

    def estimate(self) -> Tensor:
        """The share of wrong labels by the counts so far, without dimensions."""
        rows, tiny = self.sums[0], torch.finfo(self.sums.dtype).tiny
        up_to = rows.cumsum(0)
        # Of each bin what is among the surest rows: those beyond the others, which come first.
        wanted = up_to - (1 - self.SUREST) * up_to[-1]
        share = (wanted / rows.clamp(min=tiny)).clamp(0, 1)
        number, differs, label, choice = (self.sums * share).sum(dim=1).unbind()
        # One vote for each side before any is counted.
        sides = (choice + 1) / (choice + label + 2)
        noise = differs / number.clamp(min=tiny) * sides
        return noise.clamp(self.LOWEST, self.HIGHEST)


class EstimatedNoise(nn.ModuleDict):
    """The rates of a rule of correction that are measured as training goes.

    Args:
        names (Iterable[str]): ``'label_noise'``, ``'missed'`` or both: one
            :class:`LabelNoise` each.
        objects_only (bool): The share of wrong labels is that between objects. A teacher that
            says background doubts the box, not the annotator's class.
    """

    def __init__(self, names: Iterable[str], objects_only: bool = False) -> None:
        super().__init__({name: LabelNoise() for name in names})
        self.objects_only = objects_only

    def forward(
        self,
        options: dict[str, Any],
        student_predicted: Tensor,
        teacher_logits: Tensor,
        predicted: Tensor,
        labels: Tensor,
        counted: Tensor | None = None,
    ) -> dict[str, Any]:
        """The rule's options with the estimates in their places.

        Args:
            options (dict): The rule's.
            student_predicted (Tensor): The student's choice, (N,).
            teacher_logits (Tensor): (N, C).
            predicted (Tensor): The teacher's choice, (N,).
            labels (Tensor): (N,).
            counted (Tensor, optional): Rows that count, (N,) bool. None means all.

        Returns:
            dict: A copy; tensors without dimensions in the places of what is estimated.
        """
        options = dict(options)
        probs = teacher_logits.softmax(dim=1)
        confidence = probs.gather(1, predicted.unsqueeze(1)).squeeze(1)
        seen = confidence, predicted, student_predicted, labels
        background = teacher_logits.shape[1] - 1
        objects = counted
        if 'missed' in options or self.objects_only:
            objects = _both(objects, labels != background)
        if self.objects_only:
            objects = _both(objects, predicted != background)
        if 'label_noise' in self:
            options['label_noise'] = self['label_noise'](*seen, objects)
        if 'missed' in self:
            found = (labels == background) | (labels == predicted)
            found = _both(counted, found & (predicted != background))
            options['missed'] = self['missed'](*seen, found)
        return options


def _both(counted: Tensor | None, mask: Tensor) -> Tensor:
    """Rows of a mask that count; None means that all do."""
    return mask if counted is None else counted & mask
