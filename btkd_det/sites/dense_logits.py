"""The site ``dense_logits``: the class logits of all anchors of a dense head."""

from typing import Any

import torch
from torch import Tensor

from ..checks import check_choice
from ..errors import ConfigError
from ..hints import Model
from ..losses.ranks import mean_over_ranks
from ..registry import MODELS, SITES
from .base import Site
from .dense import DenseOutputs, DenseRecord, DenseRecorder, check_rows
from .dense_checks import (
    check_compares_softmax,
    check_equal,
    check_head_classes,
    check_levels,
    heads_of,
)
from .dense_readers import has_sigmoids

AVERAGES = ('anchors', 'foreground')


@SITES.register_module(name='dense_logits')
class DenseLogits(Site):
    """Class logits of all anchors, with the labels that the student's assigner gives them.

    A head with sigmoids has no logit for background, so one is put beside the classes; see
    :func:`with_background`. Anchors that the student's own classification loss leaves out count
    in none of the losses here.

    With ``average='foreground'`` the sum over the anchors is divided by the number of those that
    were assigned an object, as dense heads divide their own losses; with ``'anchors'``, the
    default, by that of all.
    """

    family = 'LogitLoss'
    options = (*Site.options, 'average')
    common_inputs = ('avg_factor',)
    recorder = DenseRecorder
    compares_classes = True

    def set_options(self, where: str, *, average: str = 'anchors', **common: Any) -> None:
        """See :meth:`Site.set_options`; ``average`` is ``'anchors'`` or ``'foreground'``."""
        super().set_options(where, **common)
        check_choice(f'{where}.average', average, AVERAGES)
        self.average = average

    def check(self, student: Model, teacher: Model) -> None:
        """Both heads need the same classes and anchors, and logits of the same kind."""
        head: Model
        head, its = heads_of(student, teacher)
        check_head_classes(head, its, teacher)
        check_equal(head, its, ('use_sigmoid_cls', 'num_base_priors'))
        check_levels(student, teacher.model)
        for field, loss in self.named():
            check_logit_loss(loss, field, head)
            if self.average == 'foreground' and getattr(loss, 'means_of_parts', False):
                raise ConfigError(
                    f"distill.{self.name}.average: 'foreground' with the curriculum of {field}, "
                    'which takes the mean over the right anchors and over the wrong ones each; '
                    "valid: average='anchors', or normalize='all' or schedule='none' of "
                    f'{type(loss).__name__}'
                )

    def inputs(self, record: DenseRecord, teacher_outputs: DenseOutputs) -> tuple:
        """Logits of both with a column for background, and the labels."""
        logits = record.logits, teacher_outputs.logits
        check_rows(*logits)
        if has_sigmoids(record.head):
            logits = with_background(logits[0]), with_background(logits[1])
        return *logits, record.labels.clamp(0, record.head.num_classes)

    def extras(
        self, record: DenseRecord, teacher_outputs: DenseOutputs, loss: Model
    ) -> dict[str, Tensor]:
        """Which anchors show an object, which count at all, and what the sum is divided by."""
        foreground, counted = record.foreground, record.counted
        extras = dict(foreground=foreground, counted=counted)
        if self.average == 'foreground':
            number = (foreground & counted).sum()
            extras['avg_factor'] = mean_over_ranks(number) if loss.training else number.clamp(min=1)
        return extras


def with_background(logits: Tensor) -> Tensor:
    """Sigmoid logits with a column for background: minus the largest of them (ours).

    It is the row's maximum where every probability is below one half, which is how the teacher is
    right about background.

    Args:
        logits (Tensor): (R, C).

    Returns:
        Tensor: (R, C + 1).
    """
    return torch.cat([logits, -logits.amax(dim=1, keepdim=True)], dim=1)


def check_logit_loss(loss: Model, field: str, head: Model) -> None:
    """Raise a ConfigError where a loss asks for what the anchors of a dense head do not have."""
    if 'box_ious' in loss.extra_inputs:
        raise ConfigError(
            f"{field}.judge: 'class_and_box' of {type(loss).__name__} needs the boxes of RoIs, and "
            "a dense head has anchors; valid in a single-stage detector: 'class'"
        )
    count = head.num_classes
    by_class = isinstance(loss, MODELS.get('btkd_det.IKDLoss'))
    if by_class and loss.num_classes != count + 1:
        raise ConfigError(
            f'{field}.num_classes: {loss.num_classes}; valid: {count + 1}, the '
            f"{count} classes of the student's bbox_head and a column for background"
        )
    if not has_sigmoids(head):
        check_compares_softmax(loss, field, f'the {type(head).__name__} has a softmax')
