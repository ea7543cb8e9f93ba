"""Evaluation by the COCO API, and of a student against its teacher."""

from ..compat.installed import is_installed
from .found_objects import FoundObjects, found_objects, matched_detections
from .predictions import CocoPredictions
from .teacher_agreement import TeacherAgreement, agreement

if is_installed('mmdet'):
    from .coco_ap import COCO_NUMBERS, CocoAP, coco_numbers
    from .voc_ap import VocAP

__all__ = [
    'COCO_NUMBERS',
    'CocoAP',
    'CocoPredictions',
    'FoundObjects',
    'TeacherAgreement',
    'VocAP',
    'agreement',
    'coco_numbers',
    'found_objects',
    'matched_detections',
]
