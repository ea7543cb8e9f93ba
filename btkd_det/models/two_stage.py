"""Distilled two-stage detectors: one set of RoIs for the student and the teacher."""

import contextlib
from typing import NamedTuple

from mmdet.models.detectors import TwoStageDetector
from torch import Tensor

from ..errors import ConfigError
from ..registry import MODELS
from .distilled import Distilled


class RoIs(NamedTuple):
    """What the student's box head saw and said in one iteration.

    Attributes:
        rois (Tensor): (N, 5): index of the image, then x1, y1, x2, y2 in pixels of the padded
            input.
        logits (Tensor): (N, C + 1), background last.
        labels (Tensor): (N,), ``C`` for background.
    """

    rois: Tensor
    logits: Tensor
    labels: Tensor


@MODELS.register_module()
class DistilledTwoStageDetector(Distilled, TwoStageDetector):
    """A two-stage detector (Faster R-CNN) that learns from a teacher.

    The student proposes, assigns and samples; then both heads see the same RoIs, each on its
    own features. The teacher runs its backbone, its neck and its RoI head, no more.

    Sites: ``roi_logits``, the class logits of the sampled RoIs with their assigned labels.

    Args:
        *args, **kwargs: As ``mmdet.models.TwoStageDetector``.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        distill (dict): Site name to a loss or a list of losses.

    Raises:
        ConfigError: See :class:`Distilled`; also where teacher and student do not tell the
            same number of classes apart, or the teacher has no RoI head.
    """

    sites = {'roi_logits': 'LogitLoss'}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.distill:
            check_same_classes(self, self.teacher.model)

    def loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and the distillation's beside them.

        Args:
            batch_inputs (Tensor): (N, 3, H, W).
            batch_data_samples (list[DetDataSample]): The annotations.

        Returns:
            dict[str, Tensor]: The plain detector's entries first, unchanged, then
            ``distill.<site>.<entry>``.
        """
        if not self.distill:
            return super().loss(batch_inputs, batch_data_samples)
        with recorded(self.roi_head.bbox_head) as seen:
            losses = super().loss(batch_inputs, batch_data_samples)
        (student,) = seen
        shapes = [sample.img_shape[:2] for sample in batch_data_samples]
        teacher_logits = self.teach(batch_inputs, shapes, student.rois)
        losses.update(
            self.distill.evaluate(
                'roi_logits',
                student.logits,
                teacher_logits,
                student.labels,
                foreground=student.labels < self.roi_head.bbox_head.num_classes,
            )
        )
        return losses

    def teach(self, batch_inputs, shapes, rois):
        """The teacher's class logits for the student's RoIs.

        Args:
            batch_inputs (Tensor): (N, 3, H, W), normalized for the student.
            shapes (list[tuple[int, int]]): Height and width of each image in pixels.
            rois (Tensor): (R, 5).

        Returns:
            Tensor: (R, C + 1).
        """
        teacher = self.teacher
        with teacher.at_work(batch_inputs.device.type):
            features = teacher.model.extract_feat(teacher.images(batch_inputs, shapes))
            return teacher.model.roi_head._bbox_forward(features, rois)['cls_score']


@contextlib.contextmanager
def recorded(bbox_head):
    """Within this context, note what meets in the box head's ``loss_and_target``.

    It is the one call in which RoIs, logits and assigned labels come together, in every RoI
    head of MMDetection. Only this instance is touched, and only for the time of the context.

    Args:
        bbox_head (nn.Module): The student's box head.

    Yields:
        list[RoIs]: One entry for each call.
    """
    seen = []
    original = bbox_head.loss_and_target

    def loss_and_target(cls_score, bbox_pred, rois, *args, **kwargs):
        result = original(cls_score, bbox_pred, rois, *args, **kwargs)
        seen.append(RoIs(rois, cls_score, result['bbox_targets'][0]))
        return result

    bbox_head.loss_and_target = loss_and_target
    try:
        yield seen
    finally:
        del bbox_head.loss_and_target


def check_same_classes(student, teacher):
    """Hold the box heads of student and teacher against each other.

    Args:
        student (nn.Module): The student.
        teacher (nn.Module): The teacher's model.

    Raises:
        ConfigError: The teacher has no RoI head, or the numbers of classes differ.
    """
    if getattr(teacher, 'roi_head', None) is None:
        raise ConfigError(
            f'teacher.config: {type(teacher).__name__} has no RoI head; valid for the site '
            'roi_logits is a two-stage detector, such as Faster R-CNN'
        )
    ours, its = (model.roi_head.bbox_head.num_classes for model in (student, teacher))
    if ours != its:
        raise ConfigError(
            f'teacher.config: the teacher tells {its} classes apart and the student {ours} '
            '(roi_head.bbox_head.num_classes); both have to be equal'
        )
