"""The former place of :mod:`btkd_det.teacher.cache.model`."""

from ..teacher.cache.model import CachedTeacher

__all__ = ['CachedTeacher']
