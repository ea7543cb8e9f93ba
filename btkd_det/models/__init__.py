"""Distilled models: the host's own classes with a teacher beside them."""

from ..compat.installed import is_installed
from ..teacher import CachedTeacher, Teacher
from . import backbones

if is_installed('mmdet'):
    from .any_detector import build_distilled_detector
    from .single_stage import DistilledSingleStageDetector
    from .two_stage import DistilledTwoStageDetector

__all__ = [
    'CachedTeacher',
    'DistilledSingleStageDetector',
    'DistilledTwoStageDetector',
    'Teacher',
    'backbones',
    'build_distilled_detector',
]
