"""Evaluation by the COCO API, and of a student against its teacher."""

from .coco_ap import COCO_NUMBERS, CocoAP, coco_numbers
from .predictions import CocoPredictions
from .teacher_agreement import TeacherAgreement, agreement
from .voc_ap import VocAP

__all__ = [
    'COCO_NUMBERS',
    'CocoAP',
    'CocoPredictions',
    'TeacherAgreement',
    'VocAP',
    'agreement',
    'coco_numbers',
]
