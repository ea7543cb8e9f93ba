"""Hooks, evaluators and loops: what the runner builds beside data, model and optimizer."""

import contextlib
import copy
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Priority, Runner, get_priority
from mmengine.visualization import Visualizer

from ..checks import suggest
from ..errors import ConfigError
from ..hints import Model
from .building import ERRORS, build_part, cannot_build, explain_keys
from .evaluators import is_coco_metric
from .registries import find_type, signature_names, typed_nodes

# Each of these is of use with the two others only, to MMEngine.
PHASES = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
LOOPS = {'train_cfg': 'EpochBasedTrainLoop', 'val_cfg': 'ValLoop', 'test_cfg': 'TestLoop'}


def check_phases(cfg: Config, needed: tuple = ('train',)) -> None:
    """Check that data, loop and optimizer or evaluator of a phase are there together.

    Args:
        cfg (Config): The whole config.
        needed (tuple[str, ...]): Phases that have to be there.

    Raises:
        ConfigError: One of them is missing.
    """
    for phase, keys in PHASES.items():
        missing = [key for key in keys if cfg.get(key) is None]
        if missing and (phase in needed or len(missing) < len(keys)):
            there = [key for key in keys if key not in missing]
            raise ConfigError(
                f'{missing[0]}: missing; MMEngine needs {", ".join(keys)} together'
                f'{" and finds only " + ", ".join(there) if there else ""}'
            )


def check_hooks(cfg: Config, model: Model) -> None:
    """Build every hook once.

    Args:
        cfg (Config): The whole config.
        model (nn.Module): The model that was built of it.

    Raises:
        ConfigError: A hook does not build, its priority is none, or it would fail later: at
            averaging the model, or at saving a checkpoint.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    _check_kinds(cfg)
    for node, registry, field in typed_nodes(cfg):
        if registry is not root.HOOKS:
            continue
        node = copy.deepcopy(node)
        priority = node.pop('priority', None)
        if priority is not None:
            try:
                get_priority(priority)
            except (ValueError, KeyError, TypeError) as error:
                names = [level.name for level in Priority]
                raise ConfigError(
                    f'{field}.priority: {priority!r}{suggest(priority, names)}; valid: 0 to 100 '
                    f'or {", ".join(names)}'
                ) from error
        with _visualizer():
            built = build_part(node, root.HOOKS, field, scope)
        if isinstance(built, EMAHook):
            _try_average(built, model, field, scope)
        if isinstance(built, CheckpointHook):
            check_keys_of_saving(built, field)
            _check_save_best(built, cfg, field)


def _check_kinds(cfg: Config) -> None:
    """Hooks are dicts or built already; a default one may be left out by None."""
    default, custom = cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or []
    if not isinstance(default, dict):
        raise ConfigError(f'default_hooks: {default!r}; valid: a dict of hooks')
    if not isinstance(custom, (list, tuple)):
        raise ConfigError(f'custom_hooks: {custom!r}; valid: a list of hooks')
    hooks = {f'default_hooks.{name}': hook for name, hook in default.items() if hook is not None}
    hooks.update({f'custom_hooks[{i}]': hook for i, hook in enumerate(custom)})
    for field, hook in hooks.items():
        if not isinstance(hook, (dict, Hook)):
            raise ConfigError(f'{field}: {hook!r}; valid: dict(type=..., ...)')


def _try_average(hook: Any, model: Any, field: str, scope: str) -> None:
    try:
        with root.MODELS.switch_scope_and_registry(scope) as registry:
            registry.build(hook.ema_cfg, default_args=dict(model=model))
    except ERRORS as error:
        raise cannot_build(field, error) from error


def check_keys_of_saving(hook: Any, field: str) -> None:
    """What a ``CheckpointHook`` does not know it hands to the runner, when an epoch is over.

    Raises:
        ConfigError: The runner does not know it either.
    """
    valid = [name for name in signature_names(CheckpointHook) if name not in ('kwargs', 'args')]
    of_runner = _parameters(Runner.save_checkpoint)
    for key, value in hook.args.items():
        if key not in of_runner:
            raise ConfigError(
                f'{field}: unknown key {key!r} (value {value!r}) for CheckpointHook'
                f'{suggest(key, valid)}; valid keys: {", ".join(valid)}'
            )


def _check_save_best(hook: Any, cfg: Config, field: str) -> None:
    """Know a wrong name for what ``CocoMetric`` gives; of other evaluators nothing is known."""
    wanted = hook.save_best or []
    evaluators = cfg.get('val_evaluator') or []
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    known = [is_coco_metric(evaluator, cfg.get('default_scope')) for evaluator in evaluators]
    if not evaluators or not all(known):
        return
    names = [name for evaluator in evaluators for name in _coco_names(evaluator)]
    for name in [wanted] if isinstance(wanted, str) else wanted:
        by_class = name.endswith('_precision') and any(e.get('classwise') for e in evaluators)
        if name != 'auto' and name not in names and not by_class:
            raise ConfigError(
                f'{field}.save_best: {name!r} is nothing that val_evaluator gives'
                f'{suggest(name, names)}; valid: auto, {", ".join(names)}'
            )


def _coco_names(evaluator: Any) -> Iterator[Any]:
    metrics = evaluator.get('metric', 'bbox')
    prefix = evaluator.get('prefix') or 'coco'
    items = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    recalls = [f'AR@{count}' for count in (100, 300, 1000)]
    recalls += [f'AR_{size}@1000' for size in 'sml']
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if metric.startswith('proposal'):
            given = [f'AR@{n}' for n in evaluator.get('proposal_nums') or ()]
            yield from (f'{prefix}/{item}' for item in [*recalls, *given])
        else:
            given = evaluator.get('metric_items') or items
            yield from (f'{prefix}/{metric}_{item}' for item in given)


@contextlib.contextmanager
def _visualizer() -> Iterator[None]:
    """Hooks that draw ask for the visualizer that the runner made before them."""
    before = Visualizer._instance_dict.copy()
    Visualizer.get_instance('preflight')
    try:
        yield
    finally:
        Visualizer._instance_dict = before


def check_loops(cfg: Config) -> None:
    """Hold the keys of the loops against their constructors, and the length of training.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: A key is unknown, a length or interval is no number above 0, or a loop is
            something else than a dict.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    for field, name in LOOPS.items():
        node = cfg.get(field)
        if not isinstance(node, dict):
            # The loop of a test is built when there is one to run.
            if field != 'test_cfg' and not (node is None or isinstance(node, BaseLoop)):
                raise ConfigError(f"{field}: {node!r}; valid: a dict, such as dict(type='{name}')")
            continue
        args = dict(node)
        if 'type' not in args and field == 'train_cfg':
            by_epoch = args.pop('by_epoch', False)
            name = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
        args.setdefault('type', name)
        kind = find_type(args, root.LOOPS, field, scope)
        given = [p for p in ('runner', 'dataloader', 'evaluator') if p in _parameters(kind)]
        explain_keys(kind, {**dict.fromkeys(given), **args}, field)
        for key in ('max_epochs', 'max_iters', 'val_interval'):
            value = args.get(key)
            if value is not None and not _counts(value, key):
                raise ConfigError(f'{field}.{key}: {value!r}; valid: a whole number above 0')


def _counts(value: Any, key: str) -> Any:
    whole = isinstance(value, int) or (key == 'max_iters' and value == float('inf'))
    return whole and not isinstance(value, bool) and value > 0


def _parameters(kind: str) -> Any:
    return inspect.signature(kind).parameters


def check_visualizer(cfg: Config) -> None:
    """Hold the keys of visualizer and backends against their constructors.

    They are not built: some of them log in to a service.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: A key is unknown or missing.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    for node, registry, field in typed_nodes(cfg):
        if registry in (root.VISUALIZERS, root.VISBACKENDS):
            given = {'name': None, 'save_dir': None}
            kind = find_type(node, registry, field, scope)
            given = {key: value for key, value in given.items() if key in _parameters(kind)}
            explain_keys(kind, {**given, **node}, field)


def check_evaluators(cfg: Config, phases: tuple = ('val',)) -> None:
    """Build every evaluator without its file; :mod:`.evaluators` looks into the file.

    Args:
        cfg (Config): The whole config, its data checked.
        phases (tuple[str, ...]): ``'val'``, ``'test'`` or both; of the others a missing file is
            only warned of.

    Raises:
        ConfigError: An evaluator does not build, or its file is not there.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    for node, registry, field in typed_nodes(cfg):
        if registry is not root.METRICS:
            continue
        phase = field.partition('_')[0]
        try:
            _check_evaluator(node, field, scope)
        except ConfigError as error:
            if phase in phases:
                raise
            print_log(f'{error} (of no effect here)', 'current', level=30)


def _check_evaluator(node: Any, field: str, scope: str) -> None:
    kind = find_type(node, root.METRICS, field, scope)
    parameters = {}
    for ancestor in reversed(getattr(kind, '__mro__', ())):
        if '__init__' in vars(ancestor):
            parameters.update(inspect.signature(ancestor.__init__).parameters)
    path = node.get('ann_file')
    local = isinstance(path, str) and '://' not in path and not node.get('backend_args')
    if local and not Path(path).is_file():
        raise ConfigError(
            f'{field}.ann_file: no file {path} (looked in {Path.cwd()}); valid: the annotation '
            "file of the data loader's data set"
        )
    without = {k: v for k, v in node.items() if k != 'ann_file'}
    optional = 'ann_file' in parameters and parameters['ann_file'].default is None
    if path is None or optional:
        build_part(without, root.METRICS, field, scope)
