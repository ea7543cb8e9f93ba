"""A config as a command gets it: read, with the options of the command line merged in."""

from typing import Any

from mmengine.config import Config

from ..config.options import check_distilled, check_first_keys, merge_options
from ..config.reading import read_config
from .shape import check_shape

# What MMEngine's Runner reads beside the keys that a config has already.
RUNNER_KEYS = [
    'auto_scale_lr',
    'custom_hooks',
    'custom_imports',
    'data_preprocessor',
    'default_hooks',
    'default_scope',
    'env_cfg',
    'experiment_name',
    'launcher',
    'load_from',
    'log_level',
    'log_processor',
    'model',
    'optim_wrapper',
    'param_scheduler',
    'randomness',
    'resume',
    'runner_type',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'train_cfg',
    'train_dataloader',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
    'visualizer',
    'work_dir',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    'compile',
]


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    The option ``data_root`` moves every path that starts with the config's own ``data_root``,
    in the data sets and in the evaluators alike.

    Args:
        path (str): A file, or a config of an installed package.
        options (dict, optional): Dotted keys to values.

    Returns:
        Config: The config.

    Raises:
        ConfigError: There is no such config, or an option finds no place in it.
    """
    cfg = read_config(path, 'CONFIG')
    options = dict(options or {})
    check_first_keys(cfg, options, RUNNER_KEYS)
    check_distilled(cfg, options)
    if 'data_root' in options and 'data_root' in cfg:
        _move_data_root(cfg, str(cfg.data_root), str(options.pop('data_root')))
    merge_options(cfg, options, path)
    check_shape(cfg)
    return cfg


def _move_data_root(node: Any, old: Any, new: Any) -> None:
    """Replace the prefix ``old`` of every string below ``node``."""
    new = new.rstrip('/') + '/' if old.endswith('/') else new
    items = node.items() if hasattr(node, 'items') else enumerate(node)
    for key, value in list(items):
        if isinstance(value, str) and value.startswith(old):
            node[key] = new + value[len(old) :]
        elif isinstance(value, (dict, list)):
            _move_data_root(value, old, new)
