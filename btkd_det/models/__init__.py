"""Distilled models: the host's own classes with a teacher beside them."""

from . import backbones
from .any_detector import build_distilled_detector
from .cached_teacher import CachedTeacher
from .single_stage import DistilledSingleStageDetector
from .teacher import Teacher
from .two_stage import DistilledTwoStageDetector

__all__ = [
    'CachedTeacher',
    'DistilledSingleStageDetector',
    'DistilledTwoStageDetector',
    'Teacher',
    'backbones',
    'build_distilled_detector',
]
