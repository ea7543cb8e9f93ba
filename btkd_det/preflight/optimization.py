"""Optimizer and schedulers, built around the model as the run will build them."""

import copy
import warnings
from typing import Any

import torch
from mmengine import registry as root
from mmengine.config import Config
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ..checks import check_choice, check_known_keys
from ..errors import ConfigError
from ..hints import Model
from .building import ERRORS, build_part, cannot_build, explain_keys
from .registries import find_type, signature_names


def check_optimization(cfg: Config, model: Model, batches: int | None = None) -> None:
    """Build the optimizer and the schedulers of a training.

    Args:
        cfg (Config): The whole config.
        model (nn.Module): The model that was built of it; its parameters do not change.
        batches (int, optional): Batches of an epoch, where the number is known.

    Raises:
        ConfigError: One of them does not build, or gradients are clipped in a way that PyTorch
            does not know.
    """
    if cfg.get('optim_wrapper') is None:
        return
    scope = cfg.get('default_scope') or 'mmengine'
    wrapper = _build_wrapper(cfg.optim_wrapper, model, scope)
    _check_clipping(cfg.optim_wrapper)
    scheduler = cfg.get('param_scheduler')
    if scheduler is None or isinstance(wrapper, OptimWrapperDict):
        return
    single = isinstance(scheduler, dict)
    schedulers = [scheduler] if single else scheduler
    if isinstance(schedulers, str) or not all(isinstance(s, dict) for s in schedulers):
        raise ConfigError(
            f'param_scheduler: {scheduler!r}; valid: dict(type=..., ...), a list of them, or None'
        )
    for i, node in enumerate(schedulers):
        field = 'param_scheduler' if single else f'param_scheduler[{i}]'
        _build_scheduler(node, field, scope, wrapper, cfg.get('train_cfg') or {}, batches)


def _build_wrapper(cfg: Config, model: Any, scope: str) -> Any:
    field = 'optim_wrapper'
    if not isinstance(cfg, dict):
        raise ConfigError(f'{field}: {cfg!r}; valid: dict(optimizer=dict(type=..., lr=...))')
    if 'optimizer' not in cfg and 'constructor' not in cfg:
        raise ConfigError(f'{field}.optimizer: missing; valid: dict(type=..., lr=...)')
    try:
        with root.OPTIM_WRAPPERS.switch_scope_and_registry(scope):
            return build_optim_wrapper(model, copy.deepcopy(cfg))
    except ERRORS as error:
        optimizer = cfg.get('optimizer')
        if isinstance(optimizer, dict) and 'constructor' not in cfg:
            kind = find_type(optimizer, root.OPTIMIZERS, f'{field}.optimizer', scope)
            explain_keys(kind, {'params': [], **optimizer}, f'{field}.optimizer')
            own = {k: v for k, v in cfg.items() if k not in ('constructor', 'paramwise_cfg')}
            wrapper = {'type': 'OptimWrapper', **own}
            explain_keys(find_type(wrapper, root.OPTIM_WRAPPERS, field, scope), wrapper, field)
        raise cannot_build(field, error) from error


def _check_clipping(cfg: Config) -> None:
    """Its keys reach PyTorch in the first step only."""
    clip = cfg.get('clip_grad')
    if not clip:
        return
    field = 'optim_wrapper.clip_grad'
    clips = dict(norm=clip_grad_norm_, value=clip_grad_value_)
    kind = clip.get('type', 'norm')
    check_choice(f'{field}.type', kind, clips)
    valid = [name for name in signature_names(clips[kind]) if name != 'parameters']
    check_known_keys(field, clip, [*valid, 'type'])
    if valid[0] not in clip:
        raise ConfigError(f'{field}: needs the key {valid[0]!r}')
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    given = {key: value for key, value in clip.items() if key != 'type'}
    try:
        clips[kind]([weight], **given)
    except (*ERRORS, RuntimeError) as error:
        raise cannot_build(field, error) from error


def _build_scheduler(
    node: Any, field: str, scope: str, wrapper: Any, train_cfg: Any, batches: Any
) -> None:
    node = copy.deepcopy(node)
    by_epoch = node.get('by_epoch', True)
    end = train_cfg.get('max_epochs' if by_epoch else 'max_iters')
    if end is None and not by_epoch and isinstance(train_cfg.get('max_epochs'), int):
        end = train_cfg['max_epochs'] * (batches or 1000)
    if end is not None:
        node.setdefault('end', end)
    given = dict(optimizer=wrapper, epoch_length=batches or 1000)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        built = build_part(node, root.PARAM_SCHEDULERS, field, scope, **given)
    # A value that only shows in the arithmetic of a step.
    if isinstance(wrapper, OptimWrapper):
        try:
            built.get_last_value()
        except ERRORS as error:
            raise cannot_build(field, error) from error
