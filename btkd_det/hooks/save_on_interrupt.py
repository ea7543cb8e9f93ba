"""A training that is asked to end leaves a checkpoint."""

import signal
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed

from .. import interrupts
from ..checkpoint.resuming import MARKER
from ..checkpoint.writing import write_text
from ..errors import InterruptedTraining
from ..registry import HOOKS
from .atomic_checkpoint import save_whole
from .batch_stream import counts_iterations

FILE = 'interrupted.pth'


@HOOKS.register_module()
class SaveOnInterruptHook(Hook):
    """Ctrl-C and SIGTERM end the training after the step that is going on, with a checkpoint.

    It is ``interrupted.pth`` in the work dir, from which ``--resume`` goes on: where the training
    counts iterations with the images that would have come, though other random numbers are drawn
    than without the signal; inside an epoch, that epoch begins again. Where a checkpoint of
    the same iteration is there already, as in validation, none is added. A signal to one process
    of several ends them all after the same step. ``tools/train.py --save-on-interrupt`` adds this
    hook, and notes the signals for it (see :func:`btkd_det.interrupts.noted`).

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.SaveOnInterruptHook'))
    """

    # After the hook that writes checkpoints.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._group = None
        self._saved_at = None

    def before_train(self, runner: Runner) -> None:
        """Have the processes ask each other without waiting for their devices."""
        if runner.world_size > 1:
            self._group = distributed.new_group(backend='gloo')

    def after_step_checkpoint(self, runner: Runner, iterations: int) -> None:
        """Note which iteration is saved."""
        self._saved_at = iterations

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """End after this step, unless it is the last one of an epoch."""
        last = not counts_iterations(runner) and batch_idx + 1 == len(runner.train_dataloader)
        if not last:
            self._end_if_requested(runner, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train_epoch(self, runner: Runner) -> None:
        """End after this epoch."""
        if not counts_iterations(runner):
            self._end_if_requested(runner, dict(epoch=runner.epoch + 1, iter=runner.iter))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """End within validation, which is made up for later, where nothing has to be saved.

        An averaged model is in the student's place here, and the ranks have unequal numbers of
        batches, so that none may wait for another.
        """
        if runner.world_size == 1 and self._saved_at == runner.iter:
            self._end_if_requested(runner, dict(epoch=runner.epoch, iter=runner.iter))

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """End after this validation."""
        if not isinstance(runner._train_loop, dict):
            self._end_if_requested(runner, dict(epoch=runner.epoch, iter=runner.iter))

    def _end_if_requested(self, runner: Any, meta: Any) -> None:
        number = self._number(runner)
        if not number:
            return
        name = signal.Signals(number).name
        where = f'the checkpoint of iteration {meta["iter"]} is there'
        if self._saved_at != meta['iter']:
            self._save(runner, meta)
            where = f'{Path(runner.work_dir, FILE)} holds iteration {meta["iter"]}'
        raise InterruptedTraining(f'ended by {name}: {where}. Go on with --resume', number)

    def _number(self, runner: Any) -> Any:
        """The signal that came to any process, or 0."""
        number = interrupts.current().number or 0
        if self._group is None:
            return number
        shared = torch.tensor(int(number))
        distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=self._group)
        return int(shared)

    def _save(self, runner: Any, meta: Any) -> None:
        runner.call_hook('before_step_checkpoint', iterations=meta['iter'])
        save_whole(runner, runner.work_dir, FILE, meta=meta, by_epoch=False)
        if is_main_process():
            write_text(Path(runner.work_dir, MARKER), str(Path(runner.work_dir, FILE)))
