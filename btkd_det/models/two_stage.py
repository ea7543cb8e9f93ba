"""Distilled two-stage detectors: one set of RoIs for the student and the teacher."""

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.structures.bbox import bbox2roi

from ..bias import is_right
from ..registry import MODELS
from .detector import DistilledDetectorMixin, annotated
from .roi_sites import SITES, check_roi_heads, roi_losses, roi_shapes
from .rois import look_at, recorded


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
        ConfigError: See :class:`Distilled` and :func:`btkd_det.models.roi_sites.check_roi_heads`;
            at the first step where the student's RoI head does not show what a site needs.
    """

    sites = {**SITES, 'fpn': 'FeatureLoss'}

    def check_teacher(self):
        """Hold the box heads of student and teacher against each other."""
        check_roi_heads(self.distill, self, self.teacher, judged=self.gated)

    def probe(self, model, features):
        """Shapes of what the sites see, for :meth:`FeatureLoss.fit`."""
        return {**super().probe(model, features), **roi_shapes(self.distill, model, features)}

    def host_loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and what its heads saw on the way."""
        if not SITES.keys() & self.distill.keys():
            return super().host_loss(batch_inputs, batch_data_samples)
        with recorded(self.roi_head) as seen:
            losses, _ = super().host_loss(batch_inputs, batch_data_samples)
        return losses, seen

    def distill_heads(self, seen, features, speaking):
        """The losses at the RoIs of every stage; ``seen`` is a :class:`~.rois.Recorded`."""
        return roi_losses(self.distill, self.teacher, seen, features, speaking)

    def objects(self, features, samples):
        """The annotated objects, judged by the teacher's box head at their own boxes."""
        images = annotated(samples)
        boxes = [image.boxes for image in images]
        said, _ = look_at(self.teacher, features, bbox2roi(boxes), stage=0, stages=0)
        labels = torch.cat([sample.gt_instances.labels for sample in samples])
        right = is_right(said['cls_score'], labels).split([len(part) for part in boxes])
        return [image._replace(right=judged) for image, judged in zip(images, right, strict=True)]
