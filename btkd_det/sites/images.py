"""Classifiers: the logits and maps of a batch of images."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..teacher.images import ImageOutputs, run_teacher, select_rows
from .base import Recorder, Step
from .outputs import outputs_of


@dataclass
class ImageRecord:
    """What a classifier gave for a batch; N images, C classes.

    Attributes:
        logits (Tensor): (N, C).
        features (Sequence[Tensor]): (N, F, H, W) for each of the backbone's ``out_indices``.
        labels (Tensor): One class for each image, (N,).
        kept (Tensor | None): Indices of the images that these are, where those of several
            classes are left out; ``None`` for all.
    """

    logits: Tensor
    features: Sequence[Tensor]
    labels: Tensor
    kept: Tensor | None = None


class ImageRecorder(Recorder):
    """Notes what the student's backbone and head give on the way to its own loss."""

    #: It runs the teacher from the backbone to the head, or not at all.
    reads_features = False

    def __enter__(self) -> 'ImageRecorder':
        self._maps: list[Sequence[Tensor]] = []
        self._logits: list[Tensor] = []
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(outputs_of(self.student, 'backbone', self._maps))
        self._stack.enter_context(outputs_of(self.student, 'head', self._logits))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def finish(self, samples: Sequence[Any]) -> None:
        """Add the labels; with ``mixed='drop'`` take images of more than one class out."""
        labels, mixed = single_labels(samples)
        logits, features = self._logits[-1], self._maps[-1]
        labels, kept = labels.to(logits.device), None
        if self.student.mixed == 'drop' and mixed is not None:
            kept = (~mixed).nonzero().squeeze(1).to(logits.device)
            logits, labels = logits.index_select(0, kept), labels.index_select(0, kept)
            features = select_rows(features, kept)
        self.records.append(ImageRecord(logits, features, labels, kept))

    def teacher_outputs(self, record: ImageRecord, step: Step) -> ImageOutputs:
        """The teacher on the same images, or what it gave beforehand."""
        teacher = step.teacher
        if hasattr(teacher, 'logits_of'):
            outputs = ImageOutputs(teacher.logits_of(step.samples, step.inputs.device))
        else:
            outputs = run_teacher(teacher, teacher.images(step.inputs), self.student.distill)
        return outputs if record.kept is None else outputs.rows(record.kept)


def single_labels(samples: Sequence) -> tuple[Tensor, Tensor | None]:
    """One label for each image, and which images have more than one.

    Args:
        samples (list[DataSample]): With ``gt_score``, (C,) shares that sum to 1, or with
            ``gt_label``, (1,).

    Returns:
        tuple[Tensor, Tensor | None]: Class of the largest share, (N,), and whether an image has
        shares of several classes, (N,) bool; None where no sample has shares.
    """
    if 'gt_score' not in samples[0]:
        return torch.cat([sample.gt_label for sample in samples]), None
    shares = torch.stack([sample.gt_score for sample in samples])
    return shares.argmax(dim=1), (shares > 0).sum(dim=1) > 1


def check_no_boxes(site: str, losses: nn.ModuleList) -> None:
    """Raise a ConfigError where a loss asks for what a classifier does not have."""
    for loss in losses:
        name = type(loss).__name__
        if 'focal' in getattr(loss, 'extra_inputs', ()):
            raise ConfigError(
                f'distill.{site}.type: {name} tells foreground from background by the boxes of a '
                'detector; valid in a classifier: a loss without them, such as PKDLoss'
            )
        if getattr(loss, 'gate', None):
            raise ConfigError(
                f'distill.{site}.gate: {loss.gate!r} of {name} needs the boxes of a '
                'detector; valid in a classifier: None'
            )
        judge = getattr(loss, 'judge', 'class')
        if judge != 'class':
            raise ConfigError(
                f'distill.{site}.judge: {judge!r} of {name} needs the boxes of a detector; valid '
                "in a classifier: 'class'"
            )
