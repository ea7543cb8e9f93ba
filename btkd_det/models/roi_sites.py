"""The losses at one set of RoIs: ``roi_logits``, ``roi_features`` and ``roi_boxes``."""

import functools

import torch
from mmdet.models.roi_heads import (
    MultiInstanceRoIHead,
    PISARoIHead,
    SparseRoIHead,
    TridentRoIHead,
)
from mmdet.models.task_modules.coders import BucketingBBoxCoder
from mmdet.structures.bbox import bbox_overlaps

from ..bias import curriculum, is_right
from ..errors import ConfigError
from ..progress import training_progress
from .data_classes import FEATURES_ALONE, compares_classes
from .rois import ask, box_heads, check_logits, look_at

#: What can stand at the RoIs, with the registered base of its losses.
SITES = {
    'roi_logits': 'LogitLoss',
    'roi_features': 'FeatureLoss',
    'roi_boxes': 'BoxLoss',
}

#: RoI heads that give no logits for RoIs alone: they need a proposal's features, or give several
#: answers for each RoI.
_SAYS_NOTHING = (SparseRoIHead, MultiInstanceRoIHead)

#: And those of which a student's loss does not show one label for each RoI: PISA weighs its loss
#: on the way, and TridentNet trains on every image several times.
_SHOWS_NOTHING = (*_SAYS_NOTHING, PISARoIHead, TridentRoIHead)


def roi_losses(sites, teacher, seen, features, speaking):
    """The losses at the RoIs of every stage.

    Args:
        sites (Sites): Of the distilled model; others than those at RoIs are left alone.
        teacher (Teacher): Its model has a RoI head.
        seen (Recorded | None): What the student's box heads saw and said, stage by stage; of
            use where a site at the RoIs speaks.
        features (Sequence[Tensor]): Of the teacher's neck.
        speaking (set[str]): The sites that are not silent.

    Returns:
        dict[str, Tensor]: See :meth:`btkd_det.models.sites.Sites.evaluate`.

    Raises:
        ConfigError: The student's RoI head did not show what it saw.
    """
    losses = {}
    at_rois = speaking & SITES.keys()
    if not at_rois:
        return losses
    seen.check()
    for stage, student in enumerate(seen):
        here = {site for site in at_rois if sites[site].stages == 'all' or stage == len(seen) - 1}
        if not here:
            continue
        with teacher.at_work(student.rois.device.type):
            said, head = look_at(teacher, features, student.rois, stage, len(seen))
        losses.update(
            _at_one_stage(sites, here, student, said, head, stage if len(seen) > 1 else None)
        )
    return losses


def _at_one_stage(sites, here, student, said, head, stage):
    """The losses at one stage's RoIs; the teacher ``said``, its deltas belong to ``head``."""
    losses = {}
    overlap = functools.cache(lambda: _overlap(student, said, head))
    if 'roi_logits' in here:
        losses |= sites.evaluate(
            'roi_logits',
            student.logits,
            said['cls_score'],
            student.labels,
            foreground=student.foreground,
            box_ious=lambda loss: overlap()[1],
            stage=stage,
        )
    if 'roi_features' in here:
        losses |= sites.evaluate(
            'roi_features',
            (student.features,),
            (said['bbox_feats'],),
            gate=lambda loss: _roi_gate(loss, student, said),
            stage=stage,
        )
    if 'roi_boxes' in here:
        boxes, ious = overlap()
        encode = lambda boxes: student.head.bbox_coder.encode(student.rois[:, 1:], boxes)
        losses |= sites.evaluate(
            'roi_boxes',
            student.own_deltas(student.deltas, student.head),
            encode(boxes),
            encode(student.true_boxes()),
            ious,
            student.foreground,
            stage=stage,
        )
    return losses


def roi_shapes(sites, model, features):
    """Shapes of what the feature losses at the RoIs see, for :meth:`FeatureLoss.fit`.

    Args:
        sites (Sites): Of the distilled model.
        model (nn.Module): The student or the teacher.
        features (Sequence[Tensor]): Of its neck.

    Returns:
        dict[str, list[tuple]]: ``roi_features`` to the (C, H, W), if the site is there.
    """
    if 'roi_features' not in sites:
        return {}
    rois = features[0].new_tensor([[0, 0, 0, 32, 32]])
    said, _ = ask(model.roi_head, features, rois)
    return {'roi_features': [tuple(said['bbox_feats'].shape[1:])]}


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


def check_roi_heads(sites, student, teacher, judged=False):
    """Hold the box heads of student and teacher against each other.

    Args:
        sites (Sites): What is asked of the teacher.
        student (nn.Module): The student.
        teacher (Teacher): The teacher.
        judged (bool): Whether the teacher's head has to judge, for a gate at ``fpn``.

    Raises:
        ConfigError: The teacher has no RoI head, a RoI head does not show or say what is needed,
            the numbers of classes differ, logits are not one for each class and background, or
            a head has no box deltas where boxes are compared.
    """
    at_rois = [site for site in sites if site in SITES]
    if not at_rois and not judged:
        return
    site = at_rois[0] if at_rois else 'fpn'
    _check_roi_heads(student, teacher, site, at_rois)
    if judged or compares_classes(sites):
        _check_same_classes(student, teacher)
    heads = [('student', head) for head in box_heads(student.roi_head)]
    taught = [('teacher', head) for head in box_heads(teacher.model.roi_head)]
    if 'roi_logits' in sites:
        check_logits([*heads, *taught], 'distill.roi_logits')
    elif judged or any(loss.gate == 'teacher_right' for loss in sites.at('roi_features')):
        check_logits(taught, f'distill.{site}.gate')
    if 'roi_boxes' in sites:
        _check_deltas([*heads, *taught], 'distill.roi_boxes')
    if any('box_ious' in getattr(loss, 'extra_inputs', ()) for loss in sites.at('roi_logits')):
        _check_deltas([*heads, *taught], "distill.roi_logits.judge: 'class_and_box'")


def _check_deltas(heads, field):
    for whose, head in heads:
        coder = getattr(head, 'bbox_coder', None)
        deltas = hasattr(coder, 'encode') and not isinstance(coder, BucketingBBoxCoder)
        if not deltas or not head.with_reg:
            raise ConfigError(
                f"{field}: compares boxes, but the {whose}'s {type(head).__name__} predicts no box "
                'deltas; valid is a box head with a bbox_coder of deltas (DeltaXYWHBBoxCoder) and '
                'with_reg=True'
            )


def _check_roi_heads(student, teacher, site, at_rois):
    if getattr(teacher.model, 'roi_head', None) is None:
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} has no RoI head; valid for the site '
            f'{site} is a two-stage detector, such as Faster R-CNN'
        )
    for field, roi_head, refused, gate in (
        ('roi_head.type', student.roi_head, _SHOWS_NOTHING if at_rois else (), ''),
        ('teacher.config', teacher.model.roi_head, _SAYS_NOTHING, " without gate='teacher_right'"),
    ):
        if isinstance(roi_head, refused):
            raise ConfigError(
                f'{field}: the site {site} cannot read a {type(roi_head).__name__}; valid: a RoI '
                'head that classifies each RoI once, such as StandardRoIHead or CascadeRoIHead, '
                f'or the site fpn{gate}'
            )


def _check_same_classes(student, teacher):
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
            f"(roi_head.bbox_head.num_classes); valid is a teacher of the student's classes, a "
            f'teacher.class_map that finds them among its own, {FEATURES_ALONE}'
        )
