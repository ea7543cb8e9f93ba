"""Distilled models: the host's own classes with a teacher beside them."""

from .teacher import Teacher
from .two_stage import DistilledTwoStageDetector

__all__ = ['DistilledTwoStageDetector', 'Teacher']
