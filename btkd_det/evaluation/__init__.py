"""Evaluation by the COCO API."""

from .coco_ap import COCO_NUMBERS, CocoAP, coco_numbers

__all__ = ['COCO_NUMBERS', 'CocoAP', 'coco_numbers']
