"""Distilled single-stage detectors: every position of the dense heads, judged by its target."""

from typing import Any

import torch
from mmdet.models.detectors import SingleStageDetector
from mmengine.dist import get_world_size

from ..registry import MODELS
from ..sites.dense import DenseRecorder
from ..sites.maps import MapRecorder
from .distilled import Distilled


@MODELS.register_module()
class DistilledSingleStageDetector(Distilled, SingleStageDetector):
    """A single-stage detector (RetinaNet, FCOS, ATSS, GFL, RTMDet) that learns from a teacher.

    Both heads give logits at every anchor of every level; the student's assigner decides which
    object each anchor stands for, and the teacher is judged by that label. Anchors that
    the student's own classification loss leaves out count in none of the losses here.

    Sites: ``dense_logits``, the class logits of all anchors; ``dense_boxes``, the distributions
    over box sides of GFL's heads; ``fpn``, the maps of the neck. The heads of both have to have
    the same anchors: as many levels, of the same sizes, with as many anchors at a position.

    A head with sigmoids has no logit for background, so one is put beside the classes: minus the
    largest of them (ours). It is the row's maximum where every probability is below one half,
    which is how the teacher is right about background. A rule of correction treats it
    as one more class: where background is the label, ``swap`` exchanges it with the largest class
    alone, and any further class above one half stays as likely as it is to the teacher.
    :class:`~btkd_det.losses.BinaryKDLoss` compares the classes one by one and leaves it out.

    Args:
        *args, **kwargs: As ``mmdet.models.SingleStageDetector``.
        use_syncbn (bool): As RTMDet's: normalize over all processes.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.sites.base.Site`.

    Raises:
        ConfigError: See :class:`Distilled`; also where the student's head cannot be recorded,
            the teacher's does not match, or a loss asks for what a dense head does not have.

    Examples:
        >>> import btkd_det
        >>> cfg = btkd_det.distill(
        ...     'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
        ...     teacher=dict(
        ...         config='mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py',
        ...         checkpoint='pretrained',
        ...     ),
        ... )
        >>> cfg.model.type, list(cfg.model.distill)
        ('btkd_det.DistilledSingleStageDetector', ['dense_logits'])
    """

    recorders = (DenseRecorder, MapRecorder)

    def __init__(self, *args: Any, use_syncbn: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if use_syncbn and get_world_size() > 1:
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(self)
