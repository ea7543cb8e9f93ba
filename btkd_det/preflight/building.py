"""Building what a training is made of, once and for nothing, with an error that names the field."""

import copy
import inspect
import traceback
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

from mmengine.registry import Registry

from ..errors import BUILD_ERRORS, ConfigError
from ..registry import check_keys
from .registries import find_type

# What a data loader, an optimizer and so on may raise beside what the builders do.
ERRORS = (*BUILD_ERRORS, IndexError, OSError, ArithmeticError, NotImplementedError, Warning)


def build_part(node: dict, registry: Registry, field: str, scope: str, **given: Any) -> Any:
    """Build one part of a config as MMEngine will.

    Args:
        node (dict): ``dict(type=..., ...)``; it stays as it is.
        registry (Registry): MMEngine's root registry of such things.
        field (str): Where ``node`` stands in the config.
        scope (str): The default scope.
        **given: What MMEngine passes beside the keys of ``node``.

    Returns:
        object: What was built.

    Raises:
        ConfigError: It does not build; where the cause is a key, the nearest valid one is named.
    """
    kind = find_type(node, registry, field, scope)
    node = copy.deepcopy(node)
    try:
        with registry.switch_scope_and_registry(scope) as own:
            return own.build(node, default_args=given or None)
    except ConfigError as error:
        raise ConfigError(f'{field}.{error}') from error
    except ERRORS as error:
        explain_keys(kind, {**given, **node}, field)
        raise cannot_build(field, error) from error


def explain_keys(kind: type | Callable, args: dict, field: str) -> None:
    """Say which key of something that does not build is unknown or missing, if that is the cause.

    Args:
        kind (type | Callable): What was to be called.
        args (dict): The keys, ``type`` among them.
        field (str): Where they stand.

    Raises:
        ConfigError: A key is unknown or missing.
    """
    args = {k: v for k, v in args.items() if k not in ('type', '_scope_')}
    if inspect.isclass(kind):
        check_keys(kind, args, field)


def cannot_build(field: str, error: Exception) -> ConfigError:
    """The error of ``field``, in one line, for what a builder raised."""
    return ConfigError(f'{field}: cannot be built: {reason(error)}')


def reason(error: Exception) -> str:
    """What another package's error says in one line, or the code that raised a silent one."""
    text = ' '.join(str(error).split())[:400]
    frames = traceback.extract_tb(error.__traceback__)
    if not text and frames:
        text = frames[-1].line or 'no reason given'
    plain = isinstance(error, (AssertionError, ValueError)) and str(error)
    return text if plain else f'{type(error).__name__}: {text}'


def unforeseen(error: Exception) -> str:
    """What to say of an error that no check has put into words: what it is, and where it arose."""
    if isinstance(error, URLError):
        return (
            f'a file could not be downloaded ({reason(error)}): weights by address, such as an '
            "init_cfg of 'torchvision://resnet50', need a network; valid: a file on this machine "
            'as init_cfg.checkpoint, or init_cfg=None for random weights'
        )
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.line]
    where = f' in {frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}' if frames else ''
    return (
        f'the config cannot be trained: {reason(error)}{where}; BTKD_DET_TRACEBACK=1 shows the '
        'way there'
    )
