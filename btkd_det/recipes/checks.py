"""What a recipe can be asked for, and what goes together."""

from typing import Any

from ..checks import check_choice, check_number, check_whole
from ..errors import ConfigError
from .methods import METHODS, PLAIN, methods_with


def class_count(images: Any, classes: Any) -> Any:
    check_number('classes', classes, least=2, most=images.num_classes, whole=True, optional=True)
    return classes or images.num_classes


def check_pair(plan: Any, teacher: Any, student: str | None, method: str) -> None:
    names = dict(teacher=teacher, student=student)
    for role in [method] if method in PLAIN else names:
        check_choice(role, names[role], plan.networks, 'network')


def check_options(**values: Any) -> None:
    for field, value in values.items():
        check_whole(field, value, least=1, optional=True)


def check_collecting(epochs: Any, row: Any, method: str) -> None:
    """IKD speaks only when collecting is over; ``epochs`` are those of the user."""
    needed = max([loss.get('collect_epochs', 0) for loss in row.losses], default=0)
    if epochs is not None and needed and epochs <= needed:
        raise ConfigError(
            f'epochs: {epochs!r}, but the method {method!r} collects what the teacher says of '
            f'each class for collect_epochs={needed} and says nothing before; valid: more than '
            f'{needed}, or a method without IKD'
        )


def check_temperature(temperature: Any, method: str) -> None:
    if temperature is None:
        return
    valid = methods_with('KDLoss')
    if method not in valid:
        raise ConfigError(
            f'temperature: {temperature!r} is that of KD, which the method {method!r} does not '
            f'have; valid: None, or one of the methods {", ".join(valid)}'
        )
    check_number('temperature', temperature, above=0, optional=True)


def check_teacherless(method: str, **values: Any) -> None:
    for field, value in values.items():
        if method in PLAIN and value is not None:
            raise ConfigError(
                f'{field}: {value!r}, but the method {method!r} has no teacher; valid: None, or '
                f'one of the methods {", ".join(name for name in METHODS if name not in PLAIN)}'
            )


def check_cache(cache: Any, views: Any, data: Any) -> None:
    if cache is not None and data == 'memory' and views is None:
        raise ConfigError(
            f"cache: {cache!r} with data='memory' also needs views=K, the number of augmented "
            'views that the cache has; without, the teacher would be asked of images that it has '
            'not seen'
        )
