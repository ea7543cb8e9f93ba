"""``--cfg-options`` merged into a config, each in a place that is there."""

import difflib
from typing import Any

from mmengine.config import Config

from ..checks import suggest
from ..errors import ConfigError

#: Where ``--distill`` puts what it adds to a plain config.
OF_DISTILLATION = ('model.teacher', 'model.distill')


def check_first_keys(cfg: Config, options: dict[str, Any], known: list[str]) -> None:
    """Refuse an option whose first key the config does not have and no runner reads.

    Args:
        cfg (Config): What the options are for.
        options (dict): Dotted keys to values.
        known (list[str]): What a runner reads beside the config's own keys.

    Raises:
        ConfigError: The first such option, with the nearest key.
    """
    for key, value in options.items():
        first = key.split('.')[0]
        if first not in cfg and first not in known:
            valid = sorted({*cfg, *known})
            raise ConfigError(
                f'--cfg-options {key}={value}: the config has no {first!r}'
                f'{suggest(first, valid)}; valid first keys: {", ".join(valid)}'
            )


def merge_options(cfg: Config, options: dict[str, Any], path: str) -> None:
    """Merge options into a config, in place.

    Args:
        cfg (Config): Takes them.
        options (dict): Dotted keys to values.
        path (str): Where the config comes from, for the error message.

    Raises:
        ConfigError: An option cannot be merged, or goes through a key that is not there while
            one of almost the same name is.
    """
    for key, value in options.items():
        _check_place(cfg, key, value)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AssertionError, AttributeError) as error:
        reason = str(error.args[0] if error.args else error)
        raise ConfigError(f'--cfg-options: cannot be merged into {path}: {reason}') from error


def split_options(
    options: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Tell the options for the config that the file holds from those for what is added to it.

    Args:
        options (dict | None): Dotted keys to values.

    Returns:
        tuple[dict, dict, dict]: The file's; the teacher's, without ``model.teacher.``; and those
        of ``model.distill``.
    """
    file, teacher, distill = {}, {}, {}
    for key, value in (options or {}).items():
        if _is_below(key, OF_DISTILLATION[0]):
            teacher[key.removeprefix(OF_DISTILLATION[0]).lstrip('.')] = value
        elif _is_below(key, OF_DISTILLATION[1]) or _is_almost(key):
            distill[key] = value
        else:
            file[key] = value
    return file, teacher, distill


def with_options(node: dict[str, Any], options: dict[str, Any], field: str) -> dict[str, Any]:
    """A part of a config with options merged into it.

    Args:
        node (dict): The part.
        options (dict): Dotted keys below it to values.
        field (str): Where it stands.

    Returns:
        dict: A copy.

    Raises:
        ConfigError: See :func:`merge_options`; also where an option replaces the whole part.
    """
    if '' in options:
        raise ConfigError(
            f'--cfg-options {field}={options[""]}: replaces all of it; valid: its keys one by '
            f'one, such as {field}.{next(iter(node))}=VALUE'
        )
    cfg = Config(dict(node))
    merge_options(cfg, options, field)
    return cfg.to_dict()


def check_distilled(cfg: Config, options: dict[str, Any] | None) -> None:
    """Refuse options for a distillation that the config does not have.

    Args:
        cfg (Config): Without the options.
        options (dict | None): Dotted keys to values.

    Raises:
        ConfigError: The model is plain, so that they would find no place.
    """
    model = cfg.get('model') or {}
    for key, value in (options or {}).items():
        below = any(_is_below(key, prefix) for prefix in OF_DISTILLATION)
        if below and isinstance(model, dict) and not {'teacher', 'distill'} & model.keys():
            raise ConfigError(
                f'--cfg-options {key}={value}: the model of this config is plain; valid with '
                '--distill PRESET, --teacher-config and --teacher-checkpoint, or in a config with '
                'model.distill'
            )


def _is_below(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f'{prefix}.')


def _is_almost(key: str) -> bool:
    """Whether a misspelled key is meant for the distillation: it is held against that."""
    names = [prefix.rpartition('.')[2] for prefix in OF_DISTILLATION]
    parts = key.split('.')
    return parts[0] == 'model' and any(
        difflib.get_close_matches(part, names, n=1, cutoff=0.8) for part in parts[1:2]
    )


def _check_place(cfg: Config, key: str, value: Any) -> None:
    """Refuse a misspelled key on the way to the last one, and what is no place in a list."""
    node, parts = cfg, key.split('.')
    for i, part in enumerate(parts):
        place = '.'.join(parts[:i]) or 'the config'
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(
                    f'--cfg-options {key}={value}: {place} is a list of {len(node)} and has no '
                    f'{part!r}; valid: a number from 0 to {len(node) - 1} in its place or before it'
                )
            node = node[int(part)]
            continue
        if not isinstance(node, (dict, Config)):
            return
        if part not in node:
            last = i == len(parts) - 1
            names = [] if last else [str(name) for name in node]
            close = difflib.get_close_matches(part, names, n=1, cutoff=0.8)
            if close:
                raise ConfigError(
                    f'--cfg-options {key}={value}: {place} has no {part!r} (did you mean '
                    f'{close[0]!r}?); its keys: {", ".join(names)}'
                )
            return
        node = node[part]
