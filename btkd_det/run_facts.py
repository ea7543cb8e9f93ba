"""What a training says of itself in its checkpoints, for one that goes on from them."""

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .config.reading import innermost_dataset, type_name
from .provenance import checkpoint_file, digest, file_digest

KEY = 'btkd_det_run'


def run_facts(cfg: Config) -> dict[str, str]:
    """What has to be the same for a training to go on as it was.

    Args:
        cfg (Config): The whole config.

    Returns:
        dict[str, str]: Teacher, data set, batch size, average of the weights, each in words.
    """
    loader = cfg.get('train_dataloader') or {}
    return {
        'the teacher': _teacher((cfg.model or {}).get('teacher')),
        'the training data': _data(loader.get('dataset') if isinstance(loader, dict) else None),
        'the batch size': _batch(loader),
        "the weights' average": _average(cfg.get('custom_hooks')),
    }


def differences(before: Any, now: dict[str, str]) -> list[str]:
    """How two trainings differ.

    Args:
        before (Any): What stands under :data:`KEY` in a checkpoint.
        now (dict[str, str]): Of :func:`run_facts`.

    Returns:
        list[str]: A clause for each; none where the checkpoint says nothing.
    """
    if not isinstance(before, dict):
        return []
    return [
        f'{what} was {before[what]} and is {value}'
        for what, value in now.items()
        if isinstance(before.get(what), str) and before[what] != value
    ]


def _teacher(teacher: Any) -> str:
    if not isinstance(teacher, dict):
        return 'none'
    if teacher.get('cache'):
        return f'the cache {Path(str(teacher["cache"])).name}'
    source = str(teacher.get('checkpoint'))
    path = Path(source) if '://' in source else checkpoint_file(source)
    state = f' ({file_digest(path)[:12]})' if path.is_file() else ''
    return Path(source).name + state


def _data(dataset: Any) -> str:
    dataset = innermost_dataset(dataset)
    if not isinstance(dataset, dict):
        return 'made elsewhere'
    file = dataset.get('ann_file')
    path = Path(str(dataset.get('data_root') or ''), str(file or ''))
    # By their content and names: folders are moved.
    state = f' ({file_digest(path)[:12]})' if file and path.is_file() else ''
    named = f' of {Path(str(file)).name}{state}' if file else ''
    chosen = {key: dataset.get(key) for key in ('data_prefix', 'filter_cfg', 'indices', 'split')}
    # Not the whole hash, which nobody reads; what differs is in the two configs.
    return f'{type_name(dataset)}{named}, selection {digest(chosen)[:6]}'


def _batch(loader: Any) -> str:
    size = loader.get('batch_size') if isinstance(loader, dict) else None
    ranks = int(os.environ.get('WORLD_SIZE', os.environ.get('SLURM_NTASKS', '1')))
    return f'{size} on {ranks} process' + ('es' if ranks > 1 else '')


def _average(hooks: list[Any] | None) -> str:
    found = [hook for hook in hooks or () if isinstance(hook, dict) and 'EMA' in type_name(hook)]
    return type_name(found[0]) if found else 'none'
