"""Checks of the arguments that describe a network."""

from ...errors import ConfigError


def check_choice(field, value, valid):
    """Hold ``value`` against the values that a paper's table has.

    Args:
        field (str): Name of the argument.
        value (object): What was given.
        valid (Iterable): What can be given.

    Raises:
        ConfigError: ``value`` is not among them.
    """
    if value not in tuple(valid):
        raise ConfigError(f'{field}: got {value!r}; valid: {", ".join(map(str, valid))}')


def check_count(**values):
    """Hold values against the positive integers.

    Args:
        **values: Each argument by its name.

    Raises:
        ConfigError: One is no integer, or less than 1.
    """
    for field, value in values.items():
        if type(value) is not int or value < 1:
            raise ConfigError(f'{field}: got {value!r}; valid: an integer of 1 or more')
