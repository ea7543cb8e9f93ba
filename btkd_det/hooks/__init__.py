"""Hooks for MMEngine's runner."""

from .exact_resume import ExactResumeHook
from .plain_config import PlainConfigHook
from .teacher_evaluation import TeacherEvaluationHook

__all__ = ['ExactResumeHook', 'PlainConfigHook', 'TeacherEvaluationHook']
