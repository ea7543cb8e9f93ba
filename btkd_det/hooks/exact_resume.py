"""A resumed run continues as if it had not been stopped."""

import random

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook

from ..checkpoint import allow_mmengine_types
from ..registry import HOOKS

KEY = 'btkd_det_rng'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Saves the random generators with each checkpoint and restores them on resume.

    MMEngine saves the weights, the optimizer and the schedules, but not the generators, so a
    resumed run samples other RoIs and flips other images than one that was not stopped. With
    this hook it is the same run, where the data loader is deterministic too: workers that are
    started anew each epoch (``persistent_workers=False``), or none, and a checkpoint at the end
    of an epoch. Validation leaves no trace in the generators, so when it runs changes nothing.

    It lets PyTorch 2.6 and later read what MMEngine itself writes into a checkpoint, which they
    refuse by default. And it takes the stored config text out of a checkpoint that is resumed
    from: MMEngine would execute it as Python, and nothing from a file is executed but the config
    that the user named.
    """

    # Before the hooks that write the checkpoint or read it.
    priority = 'VERY_HIGH'

    def __init__(self):
        self._resumed = None
        self._before_validation = None
        self._gathered = None

    def before_run(self, runner):
        """Declare MMEngine's types plain data, before a checkpoint is read."""
        allow_mmengine_types()

    def after_train_epoch(self, runner):
        """Collect the states of all ranks; only the main one is asked when the file is written."""
        if runner.world_size > 1:
            self._gathered = runner.iter, all_gather_object(_states())

    def before_save_checkpoint(self, runner, checkpoint):
        """Put the generators' states of every rank into the checkpoint."""
        if runner.world_size == 1:
            checkpoint[KEY] = [_states()]
        elif self._gathered is not None and self._gathered[0] == runner.iter:
            checkpoint[KEY] = self._gathered[1]

    def after_load_checkpoint(self, runner, checkpoint):
        """Take the states out of the checkpoint; they are set when training begins."""
        checkpoint.get('meta', {}).pop('config', None)
        states = checkpoint.pop(KEY, None)
        if runner._resume and states is not None and len(states) == runner.world_size:
            self._resumed = states[get_rank()]

    def before_train_epoch(self, runner):
        """Set the generators, once, at the last moment before the first batch is drawn."""
        if self._resumed is not None:
            _restore(self._resumed)
            self._resumed = None

    def before_val(self, runner):
        """Note the generators before validation."""
        self._before_validation = _states()

    def after_val(self, runner):
        """Set them back after it."""
        _restore(self._before_validation)


def _states():
    """The generators of this process: tensors and plain values, so weights-only reads them."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, gauss_next = random.getstate()
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        'numpy': (name, keys.tolist(), position, has_gauss, gauss),
        'python': (version, list(numbers), gauss_next),
    }


def _restore(states):
    torch.set_rng_state(states['torch'].cpu())
    if states['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())
    name, keys, *rest = states['numpy']
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, numbers, gauss_next = states['python']
    random.setstate((version, tuple(numbers), gauss_next))
