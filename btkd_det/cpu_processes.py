"""Several processes on a machine without a GPU, which MMEngine's launchers do not start."""

import os
import shutil
import subprocess

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device

from .errors import ConfigError

#: What Slurm calls what PyTorch's launcher says, and MMEngine's default for the last one.
_SLURM = {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'}
_SLURM_PORT = '29500'
_NEEDED = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


def join(cfg: Config) -> None:
    """Join the other processes by gloo where there is no GPU; does nothing elsewhere.

    MMEngine asks for a GPU before it joins and then wraps the model for it. It does neither once
    the processes have met and the config says how to wrap.

    Args:
        cfg (Config): The whole config, its ``launcher`` set; changed in place.

    Raises:
        ConfigError: Another launcher than PyTorch's and Slurm's, or it did not start this
            process.
    """
    launcher = cfg.get('launcher') or 'none'
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher == 'slurm':
        _read_slurm()
    elif launcher != 'pytorch':
        raise ConfigError(
            f'--launcher: {launcher!r} needs a GPU, and PyTorch finds none; valid here: none, '
            'pytorch, slurm'
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


def _read_slurm() -> None:
    """Say in PyTorch's names where Slurm has put this process; ConfigError without Slurm."""
    missing = [name for name in _SLURM.values() if name not in os.environ]
    if missing:
        raise ConfigError(
            f"--launcher: 'slurm', but {', '.join(missing)} of its environment is missing; "
            'valid: srun -n N python tools/train.py CONFIG --launcher slurm'
        )
    for name, source in _SLURM.items():
        os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_PORT', _SLURM_PORT)
    os.environ.setdefault('MASTER_ADDR', _first_host(os.environ.get('SLURM_NODELIST', '')))


def _first_host(nodes: str) -> str:
    """The first host of a list such as ``node[1-4]``, which Slurm itself can read."""
    if '[' not in nodes:
        return nodes.partition(',')[0] or 'localhost'
    if shutil.which('scontrol') is None:
        raise ConfigError(
            f'--launcher: SLURM_NODELIST is {nodes!r}, and there is no scontrol to read it; valid: '
            'MASTER_ADDR in the environment, the name of the first host'
        )
    command = ['scontrol', 'show', 'hostname', nodes]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def leave() -> None:
    """Leave the other processes, where this one has joined them on a CPU."""
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == 'gloo':
        torch.distributed.destroy_process_group()
