"""Several processes on a machine without a GPU, which MMEngine's launchers do not start."""

import os

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device

from .errors import ConfigError

_NEEDED = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


def join(cfg: Config) -> None:
    """Join the other processes by gloo where there is no GPU; does nothing elsewhere.

    MMEngine asks for a GPU before it joins and then wraps the model for it. It does neither once
    the processes have met and the config says how to wrap.

    Args:
        cfg (Config): The whole config, its ``launcher`` set; changed in place.

    Raises:
        ConfigError: Another launcher than PyTorch's, or it did not start this process.
    """
    launcher = cfg.get('launcher') or 'none'
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ConfigError(
            f'--launcher: {launcher!r} needs a GPU, and PyTorch finds none; valid here: none, '
            'pytorch'
        )
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise ConfigError(
            f"--launcher: 'pytorch', but {', '.join(missing)} of its environment is missing; "
            'valid: torchrun --nproc-per-node N tools/train.py CONFIG --launcher pytorch'
        )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = dict(cfg.get('model_wrapper_cfg') or {})
    wrapper.setdefault('type', 'MMDistributedDataParallel')
    # MMEngine fills in the number of a GPU where nothing is said.
    wrapper.setdefault('device_ids', None)
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault('find_unused_parameters', cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = wrapper


def leave() -> None:
    """Leave the other processes, where this one has joined them on a CPU."""
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == 'gloo':
        torch.distributed.destroy_process_group()
