"""Distilled single-stage detectors: every position of the dense heads, judged by its target."""

import contextlib
from dataclasses import dataclass, field

import torch
from mmdet.models.detectors import SingleStageDetector
from mmengine.dist import get_world_size

from ..errors import ConfigError
from ..registry import MODELS
from .detector import DistilledDetectorMixin


@dataclass
class Dense:
    """What a dense head said and was told in one iteration; R rows: anchors of all levels.

    Attributes:
        outputs (tuple): What the head's ``forward`` gave: a list of maps for each kind.
        logits (list[Tensor]): (R_l, C) of each call of the classification loss.
        labels (list[Tensor]): (R_l,) of each, ``C`` for background.
    """

    outputs: tuple = ()
    logits: list = field(default_factory=list)
    labels: list = field(default_factory=list)


@MODELS.register_module()
class DistilledSingleStageDetector(DistilledDetectorMixin, SingleStageDetector):
    """A single-stage detector (RetinaNet, FCOS, ATSS, GFL, RTMDet) that learns from a teacher.

    Student and teacher say something at every anchor of every level; the student's assigner says
    which object each anchor stands for, and the teacher is judged by that label.

    Sites: ``dense_logits``, the class logits of all anchors; ``dense_boxes``, the distributions
    over box sides of GFL's heads; ``fpn``, the maps of the neck. The heads of both have to have
    the same anchors: as many levels, of the same sizes, with as many anchors at a position.

    A head with sigmoids has no logit for background, so one is put beside the classes: minus the
    largest of them (ours). It is the row's maximum where every probability is below one half,
    which is what the teacher has to say of background to be right, and a rule of correction
    that exchanges it with a class turns the one into the other.
    :class:`~btkd_det.losses.BinaryKDLoss` compares the classes one by one and leaves it out.

    Args:
        *args, **kwargs: As ``mmdet.models.SingleStageDetector``.
        use_syncbn (bool): As RTMDet's: normalize over all processes.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.models.sites.Site`.

    Raises:
        ConfigError: See :class:`Distilled`; also where the teacher's head does not match.
    """

    sites = {
        'dense_logits': 'LogitLoss',
        'dense_boxes': 'DistributionLoss',
        'fpn': 'FeatureLoss',
    }

    def __init__(self, *args, use_syncbn=False, **kwargs):
        super().__init__(*args, **kwargs)
        if use_syncbn and get_world_size() > 1:
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(self)

    def check_teacher(self):
        """Hold the dense heads of student and teacher against each other."""
        super().check_teacher()
        if not self.distill.keys() - {'fpn'}:
            return
        ours, its = self.bbox_head, getattr(self.teacher.model, 'bbox_head', None)
        if its is None:
            raise ConfigError(
                f'teacher.config: {type(self.teacher.model).__name__} has no dense head; valid '
                'for this site is a single-stage detector, or use the site fpn alone'
            )
        names = ['num_classes', 'use_sigmoid_cls', 'num_base_priors']
        for name in names[self.teacher.class_map is not None :]:
            mine, other = getattr(ours, name, None), getattr(its, name, None)
            if mine != other:
                raise ConfigError(
                    f"teacher.config: the teacher's bbox_head.{name} is {other} and the "
                    f"student's {mine}; both have to be equal"
                )
        if 'dense_boxes' in self.distill:
            bins = getattr(ours, 'reg_max', None), getattr(its, 'reg_max', None)
            if bins[0] is None or bins[0] != bins[1] or not hasattr(ours, 'integral'):
                raise ConfigError(
                    "distill.dense_boxes: needs distributions over box sides, GFL's, with equal "
                    f'bbox_head.reg_max; got {bins[0]} in the student, {bins[1]} in the teacher'
                )

    def host_loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and what its head said and was told."""
        with recorded(self.bbox_head) as seen:
            losses, _ = super().host_loss(batch_inputs, batch_data_samples)
        return losses, seen

    def distill_heads(self, seen, features, speaking):
        """The losses at the anchors; ``seen`` is a :class:`Dense`."""
        losses = {}
        if not speaking - {'fpn'}:
            return losses
        head = self.bbox_head
        with self.teacher.at_work(features[0].device.type):
            said = self.teacher.model.bbox_head(features)
        labels = torch.cat(seen.labels)
        foreground = (labels >= 0) & (labels < head.num_classes)
        if 'dense_logits' in speaking:
            width = self.teacher.model.bbox_head.cls_out_channels
            taught = self.teacher.in_students_classes(rows(said[0], width))
            logits = torch.cat(seen.logits), taught
            _check_rows(*logits)
            if head.use_sigmoid_cls:
                logits = [with_background(part) for part in logits]
            losses |= self.distill.evaluate(
                'dense_logits', *logits, labels.clamp(max=head.num_classes), foreground=foreground
            )
        if 'dense_boxes' in speaking:
            width = 4 * (head.reg_max + 1)
            boxes = [rows(outputs[1], width) for outputs in (seen.outputs, said)]
            _check_rows(*boxes)
            losses |= self.distill.evaluate('dense_boxes', *boxes, foreground)
        return losses


@contextlib.contextmanager
def recorded(bbox_head):
    """Within this context, note what a dense head says and what its classification loss is told.

    Logits and assigned labels come together, in the same order of rows, in the call of the
    head's ``loss_cls``, whatever the head's own way to assign is.

    Args:
        bbox_head (nn.Module): The student's.

    Yields:
        Dense: Filled while the head computes its loss.
    """
    seen = Dense()

    def told(module, args):
        logits, target = args[:2]
        # GFL's and RTMDet's losses take the label together with a quality.
        seen.logits.append(logits)
        seen.labels.append(target[0] if isinstance(target, (tuple, list)) else target)

    def said(module, args, result):
        seen.outputs = result

    hooks = [
        bbox_head.loss_cls.register_forward_pre_hook(told),
        bbox_head.register_forward_hook(said),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def rows(maps, width):
    """Maps of all levels as rows, in the order in which MMDetection flattens them.

    Args:
        maps (Sequence[Tensor]): (N, A * width, H, W) each.
        width (int): What one anchor has.

    Returns:
        Tensor: (R, width), R the sum of N * H * W * A over the levels.
    """
    return torch.cat([part.permute(0, 2, 3, 1).reshape(-1, width) for part in maps])


def with_background(logits):
    """Sigmoid logits with a column for background: minus the largest of them.

    Args:
        logits (Tensor): (R, C).

    Returns:
        Tensor: (R, C + 1).
    """
    return torch.cat([logits, -logits.amax(dim=1, keepdim=True)], dim=1)


def _check_rows(student, teacher):
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's dense head has {tuple(student.shape)} anchors and outputs and the "
            f"teacher's {tuple(teacher.shape)}: both heads need the same levels and anchors"
        )
