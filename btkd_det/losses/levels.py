"""Which maps of the student a feature loss compares with which of the teacher."""

from collections.abc import Sequence
from typing import TypeAlias

from mmengine.logging import print_log

from ..errors import ConfigError

#: A level of the student and the teacher's that it is compared with.
Levels: TypeAlias = tuple[tuple[int, int], ...]


def parse_levels(
    levels: Sequence[int] | None, teacher_levels: Sequence[int] | None
) -> Levels | None:
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


def levels_of_one_size(
    levels: Levels | None,
    student_shapes: Sequence[tuple[int, ...]],
    teacher_shapes: Sequence[tuple[int, ...]],
    name: str,
) -> Levels | None:
    """Which maps belong together, where there are not as many of both and nobody says it.

    Args:
        levels (tuple[tuple[int, int]] | None): What the config says.
        student_shapes (Sequence[tuple[int, int, int]]): (C, H, W) of each of the student's maps.
        teacher_shapes (Sequence[tuple[int, int, int]]): The teacher's.
        name (str): Of the loss, for the log.

    Returns:
        tuple[tuple[int, int]] | None: A level of the student and the teacher's of its size;
        ``levels`` where there is nothing to find.

    Raises:
        ConfigError: Sizes do not say it.
    """
    counts = len(student_shapes), len(teacher_shapes)
    if levels is not None or counts[0] == counts[1]:
        return levels
    sizes = [[tuple(shape[1:]) for shape in shapes] for shapes in (student_shapes, teacher_shapes)]
    common = [size for size in sizes[0] if size in sizes[1]]
    if not common or any(len(set(whose)) != len(whose) for whose in sizes):
        listed = ['; '.join(f'{h} x {w}' for h, w in whose) for whose in sizes]
        raise ConfigError(
            f'levels: not given, but the student has {counts[0]} maps ({listed[0]}) and the '
            f'teacher {counts[1]} ({listed[1]}); valid: levels=(...) and teacher_levels=(...), '
            'one for each'
        )
    found = tuple((sizes[0].index(size), sizes[1].index(size)) for size in common)
    pairs = ', '.join(f'{level} and {partner}' for level, partner in found)
    print_log(f"{name}: the student's maps and the teacher's of one size: {pairs}", 'current')
    return found
