"""A resumed run continues as if it had not been stopped."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoint import allow_mmengine_types
from ..hints import Model
from ..registry import HOOKS
from .batch_stream import (
    REPEATED,
    counts_iterations,
    repeated_iterations,
    restart_stream,
    seed_workers,
)

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

    With ``IterBasedTrainLoop`` it is the same run from a checkpoint on that
    :class:`~btkd_det.hooks.AtomicCheckpointHook` saved, with ``InfiniteSampler`` and batches of a
    fixed size: after each checkpoint the workers start anew, from the run's seed and the
    iteration's number. Elsewhere the order of the images is resumed, but not every random number.
    A checkpoint inside an epoch of ``EpochBasedTrainLoop`` begins that epoch again, and says so.

    It lets PyTorch 2.6 and later read what MMEngine itself writes into a checkpoint, which they
    refuse by default. And it takes the stored config text out of a checkpoint that is resumed
    from: MMEngine would execute it as Python, and nothing from a file is executed but the config
    that the user named.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.ExactResumeHook'))
    """

    # Before the hooks that write the checkpoint or read it.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._resumed = None
        self._is_resumed = False
        self._before_validation = None
        self._gathered = None

    def before_run(self, runner: Runner) -> None:
        """Declare MMEngine's types plain data, before a checkpoint is read."""
        allow_mmengine_types()

    def after_train_epoch(self, runner: Runner) -> None:
        """Collect the states of all ranks; only the main one is asked when the file is written."""
        self._gather(runner, runner.iter)

    def before_step_checkpoint(self, runner: Runner, iterations: int) -> None:
        """The same, from :class:`~btkd_det.hooks.AtomicCheckpointHook`, on every rank."""
        self._gather(runner, iterations)

    def after_step_checkpoint(self, runner: Runner, iterations: int) -> None:
        """Let the rest of the training begin where a run that is resumed here begins."""
        if counts_iterations(runner):
            restart_stream(runner, iterations)

    def before_save_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Put the generators' states of every rank into the checkpoint.

        The best one is saved within validation, and the last one again with it: what validation
        draws is not the training's.
        """
        if runner.world_size == 1:
            checkpoint[KEY] = [self._run_states(runner)]
        elif self._gathered and self._gathered[0] == checkpoint['meta'].get('iter'):
            checkpoint[KEY] = self._gathered[1]

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Take the states out of the checkpoint; they are set when training begins."""
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        states = checkpoint.pop(KEY, None)
        if runner._resume and states is not None and len(states) == runner.world_size:
            self._resumed = states[get_rank()]
            # A validation that is made up for saves the checkpoint again.
            self._gathered = checkpoint['meta'].get('iter'), states
        self._is_resumed = bool(runner._resume)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the generators, once, at the last moment before the first batch is drawn.

        The workers of every epoch start anew.
        """
        states, self._resumed = self._resumed, None
        if states is not None:
            _set_sampler_seed(runner.train_dataloader, states.get('sampler_seed'))
            for name, part in _resizing(runner.model):
                part._input_size = states.get('input_sizes', {}).get(name, part._input_size)
        if not counts_iterations(runner):
            self._warn_inside_epoch(runner)
            seed_workers(runner, runner.epoch)
        elif self._is_resumed:
            restart_stream(runner, runner.iter, resumed=True)
        self._is_resumed = False
        if states is not None:
            _restore(states)

    def before_val(self, runner: Runner) -> None:
        """Note the generators before validation."""
        self._before_validation = _states()

    def after_val(self, runner: Runner) -> None:
        """Set them back after it."""
        _restore(self._before_validation)
        self._before_validation = None

    def _gather(self, runner: Runner, iterations: int) -> None:
        if runner.world_size > 1:
            self._gathered = iterations, all_gather_object(self._run_states(runner))

    def _run_states(self, runner: Runner) -> dict[str, Any]:
        """What a checkpoint keeps of this process."""
        if self._resumed is not None:
            return self._resumed
        states = self._before_validation or _states()
        return {
            **states,
            'sampler_seed': _sampler_seed(runner.train_dataloader),
            'input_sizes': {name: part._input_size for name, part in _resizing(runner.model)},
        }

    def _warn_inside_epoch(self, runner: Runner) -> None:
        repeated = runner.iter - runner.epoch * len(runner.train_dataloader)
        steps = repeated - repeated_iterations(runner)
        if self._is_resumed and steps > 0:
            runner.message_hub.update_info(REPEATED, repeated)
            runner.logger.warning(
                f'The checkpoint was saved {steps} iterations into epoch {runner.epoch + 1}: that '
                'epoch begins again, so the training has as many iterations more. Checkpoints '
                'between epochs (by_epoch=True) are resumed exactly.'
            )


def _resizing(model: Model) -> list[tuple[str, Any]]:
    """MMDetection's preprocessors that keep a random size for some iterations, as YOLOX's."""
    return [
        (name, part)
        for name, part in model.named_modules()
        if any(
            cls.__name__ == 'BatchSyncRandomResize' and cls.__module__.startswith('mmdet.')
            for cls in type(part).__mro__
        )
    ]


def _sampler_seed(loader: str) -> int | None:
    seed = getattr(_sampler(loader), 'seed', None)
    return int(seed) if isinstance(seed, (int, np.integer)) else None


def _set_sampler_seed(loader: str, seed: Any) -> None:
    if seed is not None and _sampler_seed(loader) is not None:
        _sampler(loader).seed = seed


def _sampler(loader: str) -> Any:
    """The one that shuffles; PyTorch hides it where the config has a ``batch_sampler``."""
    batches = getattr(loader, 'batch_sampler', None)
    return getattr(batches, 'sampler', getattr(loader, 'sampler', None))


def _states() -> dict[str, Any]:
    """The generators of this process: tensors and plain values, so weights-only reads them."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, gauss_next = random.getstate()
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        'numpy': (name, keys.tolist(), position, has_gauss, gauss),
        'python': (version, list(numbers), gauss_next),
    }


def _restore(states: Any) -> None:
    torch.set_rng_state(states['torch'].cpu())
    if states['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())
    name, keys, *rest = states['numpy']
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, numbers, gauss_next = states['python']
    random.setstate((version, tuple(numbers), gauss_next))
