"""Which maps of the student a feature loss compares with which of the teacher."""

from collections.abc import Sequence

from ..errors import ConfigError


def parse_levels(
    levels: Sequence[int] | None, teacher_levels: Sequence[int] | None
) -> tuple[tuple[int, int], ...] | None:
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
    ours = levels or ()
    its = ours if teacher_levels is None else teacher_levels
    if len(its) != len(ours):
        raise ConfigError(f'teacher_levels: {its!r} for levels={ours!r}; valid: one for each')
    return tuple(sorted(zip(ours, its, strict=True))) if ours else None
