"""Distilled two-stage detectors: one set of RoIs for the student and the teacher."""

from mmdet.models.detectors import TwoStageDetector

from ..registry import MODELS
from ..sites.maps import MapRecorder
from ..sites.mask_heads import MaskRecorder
from ..sites.rois import RoIRecorder
from .distilled import Distilled


@MODELS.register_module()
class DistilledTwoStageDetector(Distilled, TwoStageDetector):
    """A two-stage detector (Faster, Mask or Cascade R-CNN) that learns from a teacher.

    The student proposes, assigns and samples; then both heads see the same RoIs, each on its
    own features. The teacher runs its backbone, its neck and its RoI head, no more.

    Sites: ``roi_logits``, the class logits of the sampled RoIs with their assigned labels;
    ``roi_features``, what the box head is given for them; ``roi_boxes``, the box deltas of the
    foreground RoIs; ``roi_masks``, the mask logits of the same; ``fpn``, the maps of the neck. A
    cascade has the first four at every stage, or with ``dict(losses=..., stages='last')`` at its
    last one.

    Args:
        *args, **kwargs: As ``mmdet.models.TwoStageDetector``.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.sites.base.Site`.

    Raises:
        ConfigError: See :class:`Distilled` and the sites' checks; at the first step where the
            student's RoI head does not show what a site needs.

    Examples:
        >>> import btkd_det
        >>> cfg = btkd_det.distill(
        ...     'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        ...     teacher=dict(
        ...         config='mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py',
        ...         checkpoint='pretrained',
        ...     ),
        ... )
        >>> cfg.model.type, list(cfg.model.distill)
        ('btkd_det.DistilledTwoStageDetector', ['roi_logits'])
    """

    recorders = (RoIRecorder, MaskRecorder, MapRecorder)
