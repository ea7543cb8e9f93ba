"""The former place of :mod:`btkd_det.teacher.class_names`."""

from ..teacher.class_names import (
    check_classes,
    check_distilled,
    classes_of_meta,
    classes_of_run,
    compares_classes,
    listed,
)

__all__ = [
    'check_classes',
    'check_distilled',
    'classes_of_meta',
    'classes_of_run',
    'compares_classes',
    'listed',
]
