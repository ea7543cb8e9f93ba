"""The former place of :mod:`btkd_det.teacher`."""

from ..teacher.building import digest_of_config
from ..teacher.frozen import Teacher, build_teacher
from ..teacher.zoo import pretrained_address

__all__ = ['Teacher', 'build_teacher', 'digest_of_config', 'pretrained_address']
