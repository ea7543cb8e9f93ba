"""A validation that a kill has taken away is made up for."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoint.writing import write_text
from ..registry import HOOKS
from .batch_stream import counts_iterations

FILE = 'last_validation'


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates a resumed training's checkpoint where the run before was killed doing so.

    MMEngine saves, then validates. Killed in between, it goes on with the next epoch, and what
    would have been the best checkpoint never is. The file ``last_validation`` in the work dir
    says which iteration's weights were validated last. ``tools/train.py`` adds this hook.
    """

    # After the hooks that get ready in ``before_train``, the checkpoint's among them.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._is_resumed = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Note that this training goes on from another one."""
        self._is_resumed = bool(runner._resume)

    def before_train(self, runner: Runner) -> None:
        """Validate, where it is due at the point that training goes on from and was not done."""
        resumed, self._is_resumed = self._is_resumed, False
        if not resumed or runner.val_loop is None or not _is_due(runner):
            return
        path = Path(runner.work_dir, FILE)
        done = path.read_text(encoding='utf-8').strip() if path.is_file() else None
        if done != str(runner.iter):
            runner.logger.info('The checkpoint has not been validated: that comes first.')
            _stand_before(runner)
            runner.val_loop.run()

    def after_val(self, runner: Runner) -> None:
        """Note that the weights of this iteration are validated."""
        if is_main_process() and not isinstance(runner._train_loop, dict):
            write_text(Path(runner.work_dir, FILE), f'{runner.iter}\n')


def _stand_before(runner: Any) -> None:
    """Have the message hub say what it says in a validation that comes after training."""
    runner.message_hub.update_info('iter', runner.iter - 1)
    if not counts_iterations(runner):
        runner.message_hub.update_info('epoch', runner.epoch - 1)


def _is_due(runner: Runner) -> bool:
    """Whether the loop would have validated where it stands."""
    loop = runner.train_loop
    if counts_iterations(runner):
        now, last = loop.iter, loop.max_iters
    elif loop.iter != loop.epoch * len(runner.train_dataloader):
        # Saved inside an epoch.
        return False
    else:
        now, last = loop.epoch, loop.max_epochs
    # The interval may change as training goes on; the loop keeps the one of its next step.
    interval = [
        interval
        for begin, interval in zip(loop.dynamic_milestones, loop.dynamic_intervals, strict=True)
        if begin <= now + 1
    ][-1]
    return now > 0 and now >= loop.val_begin and (now % interval == 0 or now == last)
