"""What a command says at its top of what it evaluates."""

from typing import Any

from ..config.reading import type_name


def introduction(
    config: str, checkpoint: str, dataset: Any, teacher: dict[str, Any] | None = None
) -> str:
    """What is evaluated, a line each.

    Args:
        config (str): As the command line names it.
        checkpoint (str): As the command line names it.
        dataset (Dataset): As MMEngine built it.
        teacher (dict, optional): ``config`` and ``checkpoint`` of a teacher.

    Returns:
        str: The lines.
    """
    data = f'{describe_dataset(dataset)}: {len(dataset)} images'
    lines = [('Config', config), ('Checkpoint', checkpoint), ('Data', data)]
    if teacher is not None:
        lines.append(('Teacher', f'{describe_config(teacher["config"])}, {teacher["checkpoint"]}'))
    return titled(lines)


def titled(lines: list[tuple[str, str]]) -> str:
    """Lines with a title before each."""
    return '\n'.join(f'{title + ":":12}{text}' for title, text in lines)


def describe_dataset(dataset: Any) -> str:
    """The class of a data set, and where it lies, as far as it tells."""
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    prefixes = dict(getattr(dataset, 'data_prefix', None) or {})
    places = [
        getattr(dataset, 'ann_file', ''),
        *prefixes.values(),
        getattr(dataset, 'data_root', ''),
    ]
    place = next((place for place in places if place and isinstance(place, str)), None)
    return ', '.join(filter(None, [type(dataset).__name__, place]))


def describe_config(config: Any) -> str:
    """A config's name; of one that stands in another, its model's type."""
    return config if isinstance(config, str) else type_name(config['model'])
