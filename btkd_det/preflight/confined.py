"""Images that annotations name outside of their data set's folder."""

import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from ..errors import ConfigError

KEY = 'images_outside'
ACTIONS = ('allow', 'refuse')
_refuse = contextvars.ContextVar(KEY, default=False)


@contextlib.contextmanager
def confined(cfg: Config) -> Iterator[None]:
    """Within this context :func:`check_confined` does what the config's ``images_outside`` says.

    Args:
        cfg (Config): The whole config; ``'allow'``, the default, or ``'refuse'``.

    Raises:
        ConfigError: ``images_outside`` is something else.
    """
    action = cfg.get(KEY, 'allow')
    if action not in ACTIONS:
        raise ConfigError(
            f"{KEY}: {action!r}; valid: 'allow', or 'refuse' for annotations from outside, whose "
            'paths may lead out of data_root'
        )
    token = _refuse.set(action == 'refuse')
    try:
        yield
    finally:
        _refuse.reset(token)


def check_confined(paths: list[str], dataset: dict, field: str) -> None:
    """Refuse images outside of ``data_root``, where the config asks for it.

    Names count, not what links on the disk lead to: those are the user's own.

    Args:
        paths (list[str]): The images that the data set uses.
        dataset (dict): Its config.
        field (str): Where it stands in the config.

    Raises:
        ConfigError: A path is absolute, or climbs out of the folder.
    """
    if not _refuse.get():
        return
    root = os.path.normpath(str(dataset.get('data_root') or '.'))
    prefix = '' if root == '.' else root.rstrip(os.sep) + os.sep
    outside = [path for path in paths if not _is_below(os.path.normpath(path), prefix)]
    if outside:
        raise ConfigError(
            f'{field}: {outside[0]} lies outside of data_root {root} ({len(outside)} of '
            f'{len(paths)} images do); valid with {KEY}="refuse": images below it'
        )


def _is_below(path: Any, prefix: Any) -> Any:
    if prefix:
        return path.startswith(prefix)
    return not os.path.isabs(path) and path.split(os.sep)[0] != os.pardir
