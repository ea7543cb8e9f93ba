"""Hooks for MMEngine's runner."""

from .exact_resume import ExactResumeHook

__all__ = ['ExactResumeHook']
