"""What a recipe can be asked for, and what goes together."""

import math

from ..errors import ConfigError
from ..registry import suggest
from .methods import METHODS, PLAIN, methods_with


def class_count(images, classes):
    if classes is not None and classes not in range(2, images.num_classes + 1):
        raise ConfigError(f'classes: {classes!r}; valid: None or 2 to {images.num_classes}')
    return classes or images.num_classes


def check_pair(plan, teacher, student, method):
    if method in PLAIN:
        name = teacher if method == 'teacher' else student
        if name not in plan.networks:
            raise ConfigError(
                f'{method}: no network {name!r}{suggest(name, plan.networks)}; valid: '
                f'{", ".join(plan.networks)}'
            )
        return
    for role, name in (('teacher', teacher), ('student', student)):
        if name not in plan.networks:
            raise ConfigError(
                f'{role}: no network {name!r}{suggest(name, plan.networks)}; valid: '
                f'{", ".join(plan.networks)}'
            )


def check_options(**values):
    for field, value in values.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f'{field}: {value!r}; valid: None or a whole number from 1')


def check_collecting(epochs, row, method):
    """IKD speaks only when collecting is over; ``epochs`` are those of the user."""
    needed = max([loss.get('collect_epochs', 0) for loss in row.losses], default=0)
    if epochs is not None and needed and epochs <= needed:
        raise ConfigError(
            f'epochs: {epochs!r}, but the method {method!r} collects what the teacher says of '
            f'each class for collect_epochs={needed} and says nothing before; valid: more than '
            f'{needed}, or a method without IKD'
        )


def check_temperature(temperature, method):
    if temperature is None:
        return
    valid = methods_with('KDLoss')
    if method not in valid:
        raise ConfigError(
            f'temperature: {temperature!r} is that of KD, which the method {method!r} does not '
            f'have; valid: None, or one of the methods {", ".join(valid)}'
        )
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ConfigError(f'temperature: {temperature!r}; valid: None or a number above 0')


def check_teacherless(method, **values):
    for field, value in values.items():
        if method in PLAIN and value is not None:
            raise ConfigError(
                f'{field}: {value!r}, but the method {method!r} has no teacher; valid: None, or '
                f'one of the methods {", ".join(name for name in METHODS if name not in PLAIN)}'
            )


def check_cache(cache, views, data):
    if cache is not None and data == 'memory' and views is None:
        raise ConfigError(
            f"cache: {cache!r} with data='memory' also needs views=K, the number of augmented "
            'views that the cache has; without, the teacher would be asked of images that it has '
            'not seen'
        )
