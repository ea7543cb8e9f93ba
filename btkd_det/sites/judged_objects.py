"""The annotated objects of a batch, judged by the teacher's box head."""

import torch
from mmdet.structures.bbox import bbox2roi

from ..bias import is_right
from .base import Step
from .gate import Objects, annotated_objects
from .rois import run_roi_head


def judged_objects(step: Step) -> list[Objects]:
    """The annotated objects, judged by the teacher's box head at their own boxes."""
    images = annotated_objects(step.samples)
    boxes = [image.boxes for image in images]
    found, _ = run_roi_head(step.teacher.model.roi_head, step.features, bbox2roi(boxes), stages=0)
    logits = step.teacher.in_students_classes(found['cls_score'])
    labels = torch.cat([sample.gt_instances.labels for sample in step.samples])
    right = is_right(logits, labels).split([len(part) for part in boxes])
    return [image._replace(right=judged) for image, judged in zip(images, right, strict=True)]
