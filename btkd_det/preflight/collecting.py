"""Losses that collect before they speak have to end collecting."""

from typing import Any

from mmengine.config import Config
from torch import nn

from ..config.named_types import is_type
from ..config.reading import losses_of
from ..errors import ConfigError


def check_collecting(cfg: Config) -> None:
    """Check that every ``IKDLoss`` ends collecting before training ends.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: One would collect to the end and never speak.
    """
    for site, losses in (cfg.model.get('distill') or {}).items():
        for loss in losses_of(losses):
            if is_type(loss, 'btkd_det', 'IKDLoss') and loss.get('class_means') is None:
                _check_collecting(loss, cfg.get('train_cfg') or {}, f'model.distill.{site}')


def _check_collecting(loss: nn.Module, train_cfg: Any, field: str) -> None:
    name = 'collect_epochs' if loss.get('collect_iters') is None else 'collect_iters'
    needed = loss.get(name, 1)
    max_epochs, max_iters = train_cfg.get('max_epochs'), train_cfg.get('max_iters')
    if name == 'collect_iters':
        limit, length = max_iters, f'train_cfg.max_iters is {max_iters}'
    elif max_iters is None:
        limit, length = max_epochs, f'train_cfg.max_epochs is {max_epochs}'
    else:
        limit, length = 1, 'a training of max_iters is one epoch to MMEngine'
    if isinstance(needed, int) and isinstance(limit, int) and needed and needed >= limit:
        raise ConfigError(
            f'{field}.{name}: {needed} of IKDLoss, but {length}: it would collect to the end and '
            'never speak; valid: fewer, or collect_iters, or class_means, a file of '
            'tools/class_means.py'
        )
