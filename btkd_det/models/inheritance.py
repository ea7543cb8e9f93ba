"""The former place of :mod:`btkd_det.teacher.inheritance`."""

from ..teacher.inheritance import inherit

__all__ = ['inherit']
