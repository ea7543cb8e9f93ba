"""What MMEngine's hooks and schedules count from validation to validation."""

import json
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import Runner


def validation_states(runner: Runner) -> dict[str, Any]:
    """What early stopping, and schedules that follow a metric, have counted so far.

    Args:
        runner (Runner): In training.

    Returns:
        dict[str, Any]: Plain values, that JSON and weights-only reading take.
    """
    states = {
        'early_stopping': [[hook.best_score, hook.wait_count] for hook in _early_stopping(runner)],
        'schedules': [
            {
                'counted': {key: _plain(value) for key, value in _counted(scheduler).items()},
                'values': [group[scheduler.param_name] for group in _groups(scheduler)],
            }
            for scheduler in _follow_metrics(runner)
        ],
    }
    return json.loads(json.dumps(states, default=_plain))


def restore_validation_states(runner: Runner, states: dict[str, Any]) -> None:
    """Go on counting from there; a training that early stopping had ended is over.

    What the config has other hooks or schedules for now begins anew.

    Args:
        runner (Runner): With all that a checkpoint holds loaded.
        states (dict[str, Any]): From :func:`validation_states`.
    """
    hooks = list(_early_stopping(runner))
    if len(hooks) == len(states['early_stopping']):
        for hook, (best, waited) in zip(hooks, states['early_stopping'], strict=True):
            hook.best_score, hook.wait_count = best, waited
            if waited and waited >= hook.patience or _has_reached(hook):
                runner.logger.info(
                    f'Early stopping has ended this training: {hook.monitor} was {best:g} at '
                    f'best, {waited} validations ago, with patience={hook.patience}.'
                )
                runner.train_loop.stop_training = True
    schedulers = list(_follow_metrics(runner))
    if len(schedulers) == len(states['schedules']):
        for scheduler, state in zip(schedulers, states['schedules'], strict=True):
            scheduler.load_state_dict(state['counted'])
            for group, value in zip(_groups(scheduler), state['values'], strict=True):
                group[scheduler.param_name] = value


def _early_stopping(runner: Runner) -> Iterator[EarlyStoppingHook]:
    return (hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook))


def _has_reached(hook: EarlyStoppingHook) -> bool:
    threshold = hook.stopping_threshold
    return threshold is not None and bool(hook.rule_map[hook.rule](hook.best_score, threshold))


def _follow_metrics(runner: Runner) -> Iterator[Any]:
    """The schedules that step with a metric, as MMEngine's ParamSchedulerHook tells them."""
    schedulers = runner.param_schedulers or []
    lists = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for each in lists:
        yield from (s for s in each if s.by_epoch and getattr(s, 'need_val_args', False))


def _counted(scheduler: Any) -> dict[str, Any]:
    """The numbers among its state; rules and functions come from the config."""
    state = scheduler.state_dict()
    return {key: value for key, value in state.items() if _is_number(value) or _is_list(value)}


def _is_number(value: Any) -> bool:
    return isinstance(_plain(value), int | float)


def _is_list(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_number, values))


def _plain(value: Any) -> Any:
    """A number of NumPy or a tensor as Python's own."""
    return value.item() if hasattr(value, 'item') else value


def _groups(scheduler: Any) -> list[dict[str, Any]]:
    """Of an optimizer wrapper without the base setting that it may add."""
    optimizer = scheduler.optimizer
    if isinstance(optimizer, BaseOptimWrapper):
        optimizer = optimizer.optimizer
    return list(optimizer.param_groups)
