"""A resumed run continues as if it had not been stopped."""

import random
from functools import partial

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
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
    this hook and MMEngine's ``EpochBasedTrainLoop`` it is the same run from the end of an epoch
    on, whatever the workers of the training's data loader draw, and also where the config names
    no seed. Validation leaves no trace in the generators, so when it runs changes nothing.

    Persistent workers would carry random states from epoch to epoch that no checkpoint holds.
    So they start anew each epoch, from the run's seed and the epoch's number: an epoch begins a
    little later, by the time that it takes to start the workers. The first epoch draws what it
    draws without this hook. A ``worker_init_fn`` of the config's own stays as it is and is
    called in every epoch.

    With ``IterBasedTrainLoop`` the weights and the order of the images are resumed, but not every
    random number: the workers of a resumed run draw from the beginning again, and without
    workers PyTorch's own generator is ahead by what starting the data loader draws. Where several
    processes train together, no generators are saved there at all.

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
            self._gathered = runner.iter, all_gather_object(_run_states(runner))

    def before_save_checkpoint(self, runner, checkpoint):
        """Put the generators' states of every rank into the checkpoint."""
        if runner.world_size == 1:
            checkpoint[KEY] = [_run_states(runner)]
        elif self._gathered is not None and self._gathered[0] == runner.iter:
            checkpoint[KEY] = self._gathered[1]

    def after_load_checkpoint(self, runner, checkpoint):
        """Take the states out of the checkpoint; they are set when training begins."""
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        states = checkpoint.pop(KEY, None)
        if runner._resume and states is not None and len(states) == runner.world_size:
            self._resumed = states[get_rank()]

    def before_train_epoch(self, runner):
        """Set the generators, once, at the last moment before the first batch is drawn.

        The workers of every epoch start anew.
        """
        if self._resumed is not None:
            _restore(self._resumed)
            _set_sampler_seed(runner.train_dataloader, self._resumed.get('sampler_seed'))
            self._resumed = None
        _renew_workers(runner)

    def before_val(self, runner):
        """Note the generators before validation."""
        self._before_validation = _states()

    def after_val(self, runner):
        """Set them back after it."""
        _restore(self._before_validation)


def _renew_workers(runner):
    """Have the workers of this epoch begin with what a resumed run knows."""
    loader, seed = runner.train_dataloader, runner.seed
    if getattr(loader, 'persistent_workers', False):
        # Where PyTorch keeps them; as MMDetection's YOLOXModeSwitchHook does.
        loader._iterator = None
        # No two workers of a run share a seed. MMEngine counts workers within ranks, and
        # diff_rank_seed adds the rank once more.
        seed += runner.epoch * (loader.num_workers + 1) * runner.world_size
    start = getattr(loader, 'worker_init_fn', None)
    if isinstance(start, partial) and start.func is worker_init_fn:
        # Also where nothing persists: without a seed in the config, that of a resumed run becomes
        # known only after MMEngine has built the loader.
        loader.worker_init_fn = partial(start, seed=seed)


def _run_states(runner):
    """What a checkpoint keeps of this process."""
    return {**_states(), 'sampler_seed': _sampler_seed(runner.train_dataloader)}


def _sampler_seed(loader):
    seed = getattr(_sampler(loader), 'seed', None)
    return int(seed) if isinstance(seed, (int, np.integer)) else None


def _set_sampler_seed(loader, seed):
    if seed is not None and _sampler_seed(loader) is not None:
        _sampler(loader).seed = seed


def _sampler(loader):
    """The one that shuffles; PyTorch hides it where the config has a ``batch_sampler``."""
    batches = getattr(loader, 'batch_sampler', None)
    return getattr(batches, 'sampler', getattr(loader, 'sampler', None))


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
