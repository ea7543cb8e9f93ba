"""Values of a config, held against what they can be; one form of error for all of them."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from .errors import ConfigError


def refuse(field: str, value: Any, valid: str, why: str = '') -> NoReturn:
    """Raise the error that all checks raise.

    Args:
        field (str): Where the value stands in the config.
        value (Any): What stands there.
        valid (str): What could stand there, in words.
        why (str): What is wrong with it, if ``valid`` does not say so. Defaults to nothing.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(f'{field}: {value!r}{why}; valid: {valid}')


def check_number(
    field: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    whole: bool = False,
    optional: bool = False,
    other: tuple[str, ...] = (),
) -> None:
    """Refuse what is no finite number in a range; a bool is none.

    Args:
        field (str): Where it stands in the config.
        value (Any): What stands there.
        above, least, below, most (float, optional): The range, its ends without (``above``,
            ``below``) or with them. Defaults to no end.
        whole (bool): Only integers. Defaults to False.
        optional (bool): None will do. Defaults to False.
        other (tuple[str]): Texts that will do. Defaults to none.

    Raises:
        ConfigError: It is something else.
    """
    if (optional and value is None) or (isinstance(value, str) and value in other):
        return
    kind = Integral if whole else Real
    number = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    if number and (
        (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    ):
        return
    ends = [
        f'above {above}' if above is not None else '',
        f'of at least {least}' if least is not None else '',
        f'below {below}' if below is not None else '',
        f'of at most {most}' if most is not None else '',
    ]
    words = [f'a {"whole " if whole else ""}number', ' and '.join(filter(None, ends))]
    valid = ' '.join(filter(None, words))
    if least is not None and most is not None:
        valid = f'{words[0]} from {least} to {most}'
    choices = ['None'] if optional else []
    refuse(field, value, ', or '.join([valid, *choices, *map(repr, other)]))


def check_whole(
    field: str,
    value: Any,
    *,
    least: int | None = None,
    below: int | None = None,
    optional: bool = False,
) -> None:
    """Refuse what is no integer in a range; see :func:`check_number`."""
    check_number(field, value, least=least, below=below, whole=True, optional=optional)


def check_positive(**values: Any) -> None:
    """Refuse values that are no finite numbers above 0; each by its field."""
    for field, value in values.items():
        check_number(field, value, above=0)


def check_not_negative(**values: Any) -> None:
    """Refuse values that are no finite numbers of at least 0; each by its field."""
    for field, value in values.items():
        check_number(field, value, least=0)


def check_fraction(**values: Any) -> None:
    """Refuse values that are no numbers of at least 0 and below 1; each by its field."""
    for field, value in values.items():
        check_number(field, value, least=0, below=1)


def check_count(**values: Any) -> None:
    """Refuse values that are no integers of at least 1; each by its field."""
    for field, value in values.items():
        check_whole(field, value, least=1)


def check_bool(**values: Any) -> None:
    """Refuse values that are neither True nor False; each by its field."""
    for field, value in values.items():
        if not isinstance(value, bool):
            refuse(field, value, 'True, False')


def check_choice(field: str, value: Any, valid: Iterable[Any], what: str = '') -> None:
    """Refuse what is none of some values, and name the nearest.

    Args:
        field (str): Where it stands in the config.
        value (Any): What stands there.
        valid (Iterable): What can stand there.
        what (str): What the values are, if the field does not say so. Defaults to nothing.

    Raises:
        ConfigError: It is none of them.
    """
    choices = list(valid)
    if not any(value is choice or _same(value, choice) for choice in choices):
        names = [choice for choice in choices if isinstance(choice, str)]
        near = suggest(value, names) if isinstance(value, str) else ''
        why = f', which is no {what}{near}' if what else near
        refuse(field, value, ', '.join(map(str, choices)), why)


def check_known_keys(field: str, given: dict[str, Any], valid: Iterable[str]) -> None:
    """Refuse a dict with a key that is none of some, and name the nearest.

    Args:
        field (str): Where the dict stands in the config.
        given (dict): What stands there.
        valid (Iterable[str]): The keys that it can have.

    Raises:
        ConfigError: It has another.
    """
    known = list(valid)
    for key, value in given.items():
        if key not in known:
            raise ConfigError(
                f'{field}: unknown key {key!r} (value {value!r}){suggest(key, known)}; valid '
                f'keys: {", ".join(known)}'
            )


def check_file(field: str, path: str | PathLike, valid: str) -> None:
    """Refuse the path of what is no file.

    Args:
        field (str): Where it stands in the config.
        path (str | PathLike): What stands there.
        valid (str): What could stand there, in words.

    Raises:
        ConfigError: There is no file.
    """
    if not Path(path).is_file():
        raise ConfigError(f'{field}: no file {path} (looked in {Path.cwd()}); valid: {valid}')


def suggest(name: Any, valid: Iterable[Any]) -> str:
    """`` (did you mean 'x'?)`` for the valid name closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(str(name), list(map(str, valid)), n=1)
    return f' (did you mean {close[0]!r}?)' if close else ''


def _same(value: Any, choice: Any) -> bool:
    """Whether a value is a choice: 1 is not True, and what cannot be compared is neither."""
    if isinstance(value, bool) or isinstance(choice, bool):
        return False
    try:
        return bool(value == choice)
    except (TypeError, ValueError, RuntimeError):
        return False
