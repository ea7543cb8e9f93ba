"""The memory of a training, step by step."""

import gc
import json
import os
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class MemoryHook(Hook):
    """Notes the memory of the process and its tensors, in ``memory.json`` in the work dir.

    Args:
        every (int): Steps between two looks.
        teacher (str): Path of the teacher's config and checkpoint without their endings.
    """

    priority = 'LOWEST'

    def __init__(self, every: int, teacher: str):
        self.every, self.teacher = every, Path(teacher)
        self.found = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        step = runner.iter + 1
        if step == 20:
            self.teacher.with_suffix('.pth').write_text('another file')
        if step == 40:
            self.teacher.with_suffix('.py').unlink()
        if step % self.every == 0:
            self.found.append(dict(step=step, **memory()))
            Path(runner.work_dir, 'memory.json').write_text(json.dumps(self.found))


def memory() -> dict:
    """MiB of this process, and how many tensors are alive in it and how many values they hold."""
    gc.collect()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    tensors = [found for found in gc.get_objects() if isinstance(found, torch.Tensor)]
    # What torch.compile leaves of its tracing holds no values, and has no number of them.
    tensors = [found for found in tensors if isinstance(found.numel(), int)]
    return dict(
        mib=round(pages * os.sysconf('SC_PAGE_SIZE') / 2**20, 1),
        tensors=len(tensors),
        values=sum(found.numel() for found in tensors),
    )
