"""Which maps of the student a feature loss compares with which of the teacher."""

from typing import Any

from ..errors import ConfigError


def parse_levels(levels: Any, teacher_levels: Any) -> tuple | None:
    """Pairs of levels from the shallowest on; ``None`` for all; ConfigError."""
    for field, value in (('levels', levels), ('teacher_levels', teacher_levels)):
        if value is not None and (
            not isinstance(value, (list, tuple))
            or not value
            or len(set(value)) != len(value)
            or not all(isinstance(level, int) and level >= 0 for level in value)
        ):
            raise ConfigError(
                f'{field}: {value!r}; valid: None, or distinct numbers from 0 on, such as '
                '(0, 1, 2, 3)'
            )
    if teacher_levels is None:
        teacher_levels = levels
    if levels is None:
        levels = ()
    if len(teacher_levels or ()) != len(levels):
        raise ConfigError(
            f'teacher_levels: {teacher_levels!r} for levels={levels!r}; valid: one for each'
        )
    return tuple(sorted(zip(levels, teacher_levels, strict=True))) if levels else None
