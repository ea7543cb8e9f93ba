"""Is every type that a config names registered, and if not, which one is meant?"""

import difflib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry

from ..config.reading import type_name
from ..errors import BUILD_ERRORS, ConfigError

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Transforms whose own list of transforms names classes of another package.
FOREIGN_LISTS = ('Albu', 'Albumentations')


def check_types(cfg: Config) -> None:
    """Look up the type of every data set, transform, sampler, optimizer, hook and so on.

    The types within ``model`` are left to :func:`explain_type`.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: A type is not registered; the message proposes the nearest name that is.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    check_scope(scope)
    for node, registry, field in typed_nodes(cfg):
        find_type(node, registry, field, scope)


def check_scope(scope: str) -> None:
    """Check that a default scope is one that an installed package has.

    Raises:
        ConfigError: MMEngine would fall back to its own, without a word.
    """
    known = ['mmengine', *root.MODELS.children]
    installed = {'mmengine', 'mmdet', 'mmpretrain', 'mmrazor', 'btkd_det'}
    if scope not in known and scope not in installed and not _importable(scope):
        close = nearest(scope, {*known, *installed})
        raise ConfigError(f'default_scope: no package {scope!r}{close}; valid: {", ".join(known)}')


def _importable(name: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def find_type(
    node: dict, registry: Registry, field: str, scope: str, key: str = 'type'
) -> type | Callable:
    """The class or function that a part of a config names.

    Args:
        node (dict): ``dict(type=..., ...)``; a type that is no text comes back as it is.
        registry (Registry): MMEngine's root registry of such things.
        field (str): Where ``node`` stands in the config.
        scope (str): The default scope.
        key (str): Where the type stands. Defaults to ``'type'``.

    Returns:
        type | Callable: What is registered.

    Raises:
        ConfigError: There is no type, or nothing of its name is registered.
    """
    name = node.get(key)
    if name is None or name == '':
        raise ConfigError(f'{field}: no {key}; valid: dict({key}=NAME, ...), NAME a registered one')
    if not isinstance(name, str):
        if not callable(name):
            raise ConfigError(f'{field}.{key}: {name!r}; valid: a registered name, or a class')
        return name
    if not isinstance(node.get('_scope_', scope), str):
        raise ConfigError(f'{field}._scope_: {node["_scope_"]!r}; valid: the name of a package')
    with registry.switch_scope_and_registry(node.get('_scope_', scope)) as own:
        try:
            found = own.get(name)
        except BUILD_ERRORS as error:
            # A package that is not installed, or a module of it that does not import.
            raise ConfigError(f'{field}.{key}: {name!r} cannot be imported: {error}') from error
        if found is not None:
            return found
        names = registered_names(own)
    prefix = name.rpartition('.')[0]
    child = registry.children.get(prefix)
    if prefix and child is None and prefix != own.scope:
        close = nearest(prefix, {own.scope, *registry.children})
        raise ConfigError(f'{field}.{key}: {name!r}: no scope {prefix!r}{close}')
    if child is not None:
        names = {f'{prefix}.{n.rpartition(".")[2]}' for n in registered_names(child)}
    raise ConfigError(
        f'{field}.{key}: {name!r} is no registered {registry.name}{nearest(name, names)}; valid: '
        "a registered name, or one that a module of the config's custom_imports registers"
    )


def registered_names(registry: Registry) -> set[str]:
    """Names that a registry finds without a scope, its parents' among them."""
    names = set()
    while registry is not None:
        registry.import_from_location()
        names.update(registry.module_dict)
        registry = registry.parent
    return names


def nearest(name: str, valid: Any) -> str:
    """`` (did you mean 'X'?)`` for the valid name closest to ``name``, in any case of letters."""
    by_lower = {str(v).lower(): str(v) for v in sorted(valid, key=str)}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return f' (did you mean {by_lower[close[0]]!r}?)' if close else ''


def typed_nodes(cfg: Config) -> Iterator[tuple]:
    """Every part of a config, outside of its model, that names a type.

    Args:
        cfg (Config): The whole config.

    Yields:
        tuple[dict, Registry, str]: The part, the root registry of its type, its field.
    """
    for name in LOADERS:
        loader = cfg.get(name)
        if isinstance(loader, dict):
            yield from _of_loader(loader, name)
    yield from _of_optimizer(cfg.get('optim_wrapper'))
    yield from _of_list(cfg.get('param_scheduler'), root.PARAM_SCHEDULERS, 'param_scheduler')
    for name, hook in _items(cfg.get('default_hooks')):
        yield from _of_list(hook, root.HOOKS, f'default_hooks.{name}')
    yield from _of_list(cfg.get('custom_hooks'), root.HOOKS, 'custom_hooks')
    for name in ('val_evaluator', 'test_evaluator'):
        evaluator = cfg.get(name)
        if isinstance(evaluator, dict) and 'metrics' in evaluator:
            if 'type' in evaluator:
                yield evaluator, root.EVALUATOR, name
            yield from _of_list(evaluator['metrics'], root.METRICS, f'{name}.metrics')
        else:
            yield from _of_list(evaluator, root.METRICS, name)
    visualizer = cfg.get('visualizer')
    yield from _of_list(visualizer, root.VISUALIZERS, 'visualizer')
    if isinstance(visualizer, dict):
        backends = visualizer.get('vis_backends')
        yield from _of_list(backends, root.VISBACKENDS, 'visualizer.vis_backends')
    for name, registry in (
        ('train_cfg', root.LOOPS),
        ('val_cfg', root.LOOPS),
        ('test_cfg', root.LOOPS),
        ('log_processor', root.LOG_PROCESSORS),
    ):
        node = cfg.get(name)
        if isinstance(node, dict) and 'type' in node:
            yield node, registry, name
    if isinstance(cfg.get('runner_type'), str):
        yield dict(type=cfg.runner_type), root.RUNNERS, 'runner_type'


def _items(node: Any) -> Any:
    return node.items() if isinstance(node, dict) else ()


def _of_list(nodes: Any, registry: Any, field: str) -> Iterator[Any]:
    """The dicts of a dict or a list of them, a dict of lists included."""
    if isinstance(nodes, dict):
        if 'type' in nodes or not any(isinstance(v, (dict, list)) for v in nodes.values()):
            yield nodes, registry, field
        else:
            for name, value in nodes.items():
                yield from _of_list(value, registry, f'{field}.{name}')
    elif isinstance(nodes, (list, tuple)):
        for i, node in enumerate(nodes):
            if isinstance(node, dict):
                yield node, registry, f'{field}[{i}]'


def _of_loader(loader: str, field: str) -> Iterator[Any]:
    yield from _of_dataset(loader.get('dataset'), f'{field}.dataset')
    for name, registry in (
        ('sampler', root.DATA_SAMPLERS),
        ('batch_sampler', root.DATA_SAMPLERS),
        ('collate_fn', root.FUNCTIONS),
        ('worker_init_fn', root.FUNCTIONS),
    ):
        if isinstance(loader.get(name), dict):
            yield loader[name], registry, f'{field}.{name}'


def _of_dataset(dataset: Any, field: str) -> Iterator[Any]:
    if not isinstance(dataset, dict):
        return
    yield dataset, root.DATASETS, field
    yield from _of_dataset(dataset.get('dataset'), f'{field}.dataset')
    parts = dataset.get('datasets')
    for i, part in enumerate(parts if isinstance(parts, (list, tuple)) else ()):
        yield from _of_dataset(part, f'{field}.datasets[{i}]')
    yield from _of_pipeline(dataset.get('pipeline'), f'{field}.pipeline')


def _of_pipeline(transforms: Any, field: str) -> Iterator[Any]:
    for i, node in enumerate(transforms if isinstance(transforms, (list, tuple)) else ()):
        if isinstance(node, (list, tuple)):
            yield from _of_pipeline(node, f'{field}[{i}]')
        elif isinstance(node, dict):
            yield node, root.TRANSFORMS, f'{field}[{i}]'
            if type_name(node) not in FOREIGN_LISTS:
                yield from _of_pipeline(node.get('transforms'), f'{field}[{i}].transforms')


def _of_optimizer(wrapper: Any) -> Iterator[Any]:
    if not isinstance(wrapper, dict):
        return
    field = 'optim_wrapper'
    if 'type' in wrapper:
        yield wrapper, root.OPTIM_WRAPPERS, field
    if isinstance(wrapper.get('optimizer'), dict):
        yield wrapper['optimizer'], root.OPTIMIZERS, f'{field}.optimizer'
    if isinstance(wrapper.get('constructor'), str):
        node = dict(type=wrapper['constructor'])
        yield node, root.OPTIM_WRAPPER_CONSTRUCTORS, f'{field}.constructor'


def explain_type(model: dict, field: str, scope: str, error: Exception) -> None:
    """Find what, in a model that does not build, is registered nowhere.

    Args:
        model (dict): A config of a model.
        field (str): Where it stands.
        scope (str): The default scope.
        error (Exception): What the builder raised.

    Raises:
        ConfigError: The error names a type, and it is in no registry of models, tasks or
            initializers.
    """
    scope = model.get('_scope_', scope)
    for key, value in model.items():
        if isinstance(value, dict):
            explain_type(value, f'{field}.{key}', scope, error)
        elif isinstance(value, (list, tuple)):
            for i, part in enumerate(value):
                if isinstance(part, dict):
                    explain_type(part, f'{field}.{key}[{i}]', scope, error)
    name = model.get('type')
    if not isinstance(name, str) or name not in str(error):
        return
    names = set()
    for registry in (root.MODELS, root.TASK_UTILS, root.WEIGHT_INITIALIZERS):
        with registry.switch_scope_and_registry(scope) as own:
            try:
                if own.get(name) is not None:
                    return
            except BUILD_ERRORS:
                return
            names |= registered_names(own)
    raise ConfigError(
        f'{field}.type: {name!r} is not registered{nearest(name, names)}; valid: a registered '
        "name, or one that a module of the config's custom_imports registers"
    )


def signature_names(cls: Any) -> list[str]:
    """Names of a function's or class's parameters, as an error message lists them."""
    return [name for name in inspect.signature(cls).parameters if name != 'self']
