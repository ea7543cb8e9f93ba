"""The site ``dense_logits``: the class logits of all anchors of a dense head."""

import torch
from torch import Tensor

from ..errors import ConfigError
from ..registry import MODELS, SITES
from ..teacher.class_map import FEATURES_ALONE
from .base import Site
from .dense import DenseRecorder, check_rows
from .dense_checks import check_equal, check_levels, heads_of
from .dense_readers import has_sigmoids


@SITES.register_module(name='dense_logits')
class DenseLogits(Site):
    """Class logits of all anchors, with the labels that the student's assigner gives them.

    A head with sigmoids has no logit for background, so one is put beside the classes; see
    :func:`with_background`. Anchors that the student's own classification loss leaves out count
    in none of the losses here.
    """

    family = 'LogitLoss'
    recorder = DenseRecorder
    compares_classes = True

    def check(self, student, teacher):
        """Both heads need the same classes and anchors, and logits of the same kind."""
        head, its = heads_of(student, teacher)
        ours, known = head.num_classes, its.num_classes
        if teacher.class_map is not None:
            teacher.class_map.check(ours, known)
        elif ours != known:
            raise ConfigError(
                f"teacher.config: the teacher's bbox_head.num_classes is {known} and the "
                f"student's {ours}; valid is a teacher of the student's classes, a "
                f'teacher.class_map that finds them among its own, {FEATURES_ALONE}'
            )
        check_equal(head, its, ('use_sigmoid_cls', 'num_base_priors'))
        check_levels(student, teacher.model)
        for i, loss in enumerate(self):
            field = f'distill.{self.name}[{i}]' if len(self) > 1 else f'distill.{self.name}'
            check_logit_loss(loss, field, ours)

    def inputs(self, record, teacher_outputs):
        """Logits of both with a column for background, and the labels."""
        logits = record.logits, teacher_outputs.logits
        check_rows(*logits)
        if has_sigmoids(record.head):
            logits = [with_background(part) for part in logits]
        return *logits, record.labels.clamp(0, record.head.num_classes)

    def extras(self, record, teacher_outputs, loss):
        """Which anchors show an object, and which count at all."""
        return dict(foreground=record.foreground, counted=record.counted)


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


def check_logit_loss(loss, field, num_classes):
    """Raise a ConfigError where a loss asks for what the anchors of a dense head do not have."""
    if 'box_ious' in loss.extra_inputs:
        raise ConfigError(
            f"{field}.judge: 'class_and_box' of {type(loss).__name__} needs the boxes of RoIs, and "
            "a dense head has anchors; valid in a single-stage detector: 'class'"
        )
    by_class = isinstance(loss, MODELS.get('btkd_det.IKDLoss'))
    if by_class and loss.num_classes != num_classes + 1:
        raise ConfigError(
            f'{field}.num_classes: got {loss.num_classes}; valid: {num_classes + 1}, the '
            f"{num_classes} classes of the student's bbox_head and a column for background"
        )
