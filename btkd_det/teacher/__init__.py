"""The teacher: a frozen model beside the student, or the file of what one gave beforehand."""

from .cache.model import CachedTeacher
from .class_map import ClassMap
from .frozen import Teacher, build_teacher

__all__ = ['CachedTeacher', 'ClassMap', 'Teacher', 'build_teacher']
