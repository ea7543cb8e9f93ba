"""Evaluation by the COCO API, and of a student against its teacher."""

from .coco_ap import COCO_NUMBERS, CocoAP, coco_numbers
from .teacher_agreement import TeacherAgreement, agreement

__all__ = ['COCO_NUMBERS', 'CocoAP', 'TeacherAgreement', 'agreement', 'coco_numbers']
