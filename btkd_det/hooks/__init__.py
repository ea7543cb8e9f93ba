"""Hooks for MMEngine's runner."""

from .exact_resume import ExactResumeHook
from .teacher_evaluation import TeacherEvaluationHook

__all__ = ['ExactResumeHook', 'TeacherEvaluationHook']
