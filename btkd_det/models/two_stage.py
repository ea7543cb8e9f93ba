"""Distilled two-stage detectors: one set of RoIs for the student and the teacher."""

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.structures.bbox import bbox2roi, bbox_overlaps

from ..bias import curriculum, is_right
from ..errors import ConfigError
from ..progress import training_progress
from ..registry import MODELS
from .detector import DistilledDetectorMixin
from .gate import Objects
from .rois import ask, box_heads, look_at, recorded


@MODELS.register_module()
class DistilledTwoStageDetector(DistilledDetectorMixin, TwoStageDetector):
    """A two-stage detector (Faster, Mask or Cascade R-CNN) that learns from a teacher.

    The student proposes, assigns and samples; then both heads see the same RoIs, each on its
    own features. The teacher runs its backbone, its neck and its RoI head, no more.

    Sites: ``roi_logits``, the class logits of the sampled RoIs with their assigned labels;
    ``roi_features``, what the box head is given for them; ``roi_boxes``, the box deltas of the
    foreground RoIs; ``fpn``, the maps of the neck. A cascade has the first three at every
    stage, or with ``dict(losses=..., stages='last')`` at its last one.

    Args:
        *args, **kwargs: As ``mmdet.models.TwoStageDetector``.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.models.sites.Site`.

    Raises:
        ConfigError: See :class:`Distilled`; also where teacher and student do not tell the
            same number of classes apart, or the teacher has no RoI head.
    """

    sites = {
        'roi_logits': 'LogitLoss',
        'roi_features': 'FeatureLoss',
        'roi_boxes': 'BoxLoss',
        'fpn': 'FeatureLoss',
    }

    def check_teacher(self):
        """Hold the box heads of student and teacher against each other."""
        at_rois = [site for site in self.distill if site != 'fpn']
        if at_rois or self.gated:
            check_same_classes(self, self.teacher, at_rois[0] if at_rois else 'fpn')
        if 'roi_boxes' not in self.distill:
            return
        for head in [*box_heads(self.roi_head), *box_heads(self.teacher.model.roi_head)]:
            if not head.with_reg or not hasattr(head.bbox_coder, 'encode'):
                raise ConfigError(
                    f'distill.roi_boxes: {type(head).__name__} predicts no box deltas; valid is '
                    'a box head with a bbox_coder'
                )

    def probe(self, model, features):
        """Shapes of what the sites see, for :meth:`FeatureLoss.fit`."""
        shapes = super().probe(model, features)
        if 'roi_features' in self.distill:
            rois = features[0].new_tensor([[0, 0, 0, 32, 32]])
            said, _ = ask(model.roi_head, features, rois)
            shapes['roi_features'] = [said['bbox_feats'].shape[1:]]
        return shapes

    def host_loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and what its heads saw on the way."""
        with recorded(self.roi_head) as seen:
            losses, _ = super().host_loss(batch_inputs, batch_data_samples)
        return losses, seen

    def distill_heads(self, seen, features, speaking):
        """The losses at the RoIs of every stage; ``seen`` is a list of :class:`RoIs`."""
        losses = {}
        if not speaking - {'fpn'}:
            return losses
        for stage, student in enumerate(seen):
            here = {
                site
                for site in speaking - {'fpn'}
                if self.distill[site].stages == 'all' or stage == len(seen) - 1
            }
            if here:
                with self.teacher.at_work(student.rois.device.type):
                    said, head = look_at(self.teacher, features, student.rois, stage, len(seen))
                losses.update(
                    self._at_rois(here, student, said, head, stage if len(seen) > 1 else None)
                )
        return losses

    def _at_rois(self, here, student, said, head, stage):
        """The losses at one stage's RoIs; the teacher ``said``, its deltas belong to ``head``."""
        losses = {}
        if 'roi_logits' in here:
            losses |= self.distill.evaluate(
                'roi_logits',
                student.logits,
                said['cls_score'],
                student.labels,
                foreground=student.foreground,
                box_ious=lambda loss: _overlap(student, said, head)[1],
                stage=stage,
            )
        if 'roi_features' in here:
            losses |= self.distill.evaluate(
                'roi_features',
                (student.features,),
                (said['bbox_feats'],),
                gate=lambda loss: _roi_gate(loss, student, said),
                stage=stage,
            )
        if 'roi_boxes' in here:
            boxes, ious = _overlap(student, said, head)
            encode = lambda boxes: student.head.bbox_coder.encode(student.rois[:, 1:], boxes)
            losses |= self.distill.evaluate(
                'roi_boxes',
                student.own_deltas(student.deltas, student.head),
                encode(boxes),
                encode(student.true_boxes()),
                ious,
                student.foreground,
                stage=stage,
            )
        return losses

    def objects(self, features, samples):
        """The annotated objects, judged by the teacher's box head at their own boxes."""
        boxes = [sample.gt_instances.bboxes for sample in samples]
        boxes = [getattr(part, 'tensor', part) for part in boxes]
        said, _ = look_at(self.teacher, features, bbox2roi(boxes), stage=0, stages=0)
        labels = torch.cat([sample.gt_instances.labels for sample in samples])
        right = is_right(said['cls_score'], labels).split([len(part) for part in boxes])
        return [
            Objects(part, judged, sample.img_shape[:2])
            for part, judged, sample in zip(boxes, right, samples, strict=True)
        ]


@torch.no_grad()
def _overlap(student, said, head):
    """The teacher's box of each RoI's assigned class, (R, 4), and its IoU with the truth, (R,)."""
    deltas = student.own_deltas(said['bbox_pred'].float(), head)
    boxes = head.bbox_coder.decode(student.rois[:, 1:], deltas)
    return boxes, bbox_overlaps(boxes, student.true_boxes(), is_aligned=True)


def _roi_gate(loss, student, said):
    """The gate of RoI features.

    ``'teacher_right'`` weighs the RoIs as the logits' curriculum does, by cosine and subset;
    ``'foreground'`` takes those that show an object, and the others apart.
    """
    if loss.gate is None:
        return None
    if loss.gate == 'teacher_right':
        right = is_right(said['cls_score'], student.labels)
        weights = curriculum(right, training_progress())
    else:
        background = ~student.foreground
        weights = student.foreground / student.foreground.sum().clamp(min=1)
        weights = weights + loss.background_weight * background / background.sum().clamp(min=1)
    height, width = said['bbox_feats'].shape[2:]
    return [(weights / (height * width))[:, None, None, None].expand(-1, 1, height, width)]


def check_same_classes(student, teacher, site):
    """Hold the box heads of student and teacher against each other.

    Args:
        student (nn.Module): The student.
        teacher (Teacher): The teacher.
        site (str): What asks for it.

    Raises:
        ConfigError: The teacher has no RoI head, or the numbers of classes differ.
    """
    if getattr(teacher.model, 'roi_head', None) is None:
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} has no RoI head; valid for the site '
            f'{site} is a two-stage detector, such as Faster R-CNN'
        )
    ours, its = box_heads(student.roi_head)[0].num_classes, teacher.num_classes
    if teacher.class_map is not None:
        if len(teacher.class_map) != ours or max(teacher.class_map) >= its:
            raise ConfigError(
                f'teacher.class_map: got {teacher.class_map}; valid: for each of the {ours} '
                f'classes of the student an index below {its}'
            )
    elif ours != its:
        raise ConfigError(
            f'teacher.config: the teacher tells {its} classes apart and the student {ours} '
            '(roi_head.bbox_head.num_classes); both have to be equal'
        )
