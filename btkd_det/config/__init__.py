"""Configs: reading them, options merged into them, and distillation added or taken out."""

from .distilled_types import ANY, CLASSIFIER, DISTILLED, SINGLE_STAGE, TWO_STAGE, distilled_type
from .distilling import (
    added_text,
    count_classes,
    distill,
    make_distilled,
    teacher_from_options,
)
from .plain import plain_config, without_distillation
from .presets import PRESETS
from .reading import read_config, type_name

__all__ = [
    'ANY',
    'CLASSIFIER',
    'DISTILLED',
    'PRESETS',
    'SINGLE_STAGE',
    'TWO_STAGE',
    'added_text',
    'count_classes',
    'distill',
    'distilled_type',
    'make_distilled',
    'plain_config',
    'read_config',
    'teacher_from_options',
    'type_name',
    'without_distillation',
]
