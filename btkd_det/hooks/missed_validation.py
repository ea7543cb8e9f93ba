"""A validation that a kill has taken away is made up for, and none is forgotten."""

import json
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoint.writing import write_text
from ..registry import HOOKS
from .batch_stream import counts_iterations, repeated_iterations
from .validation_states import restore_validation_states, validation_states

KEY = 'btkd_det_validations'
FILE = 'last_validation'


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates a resumed training's checkpoint where the run before was killed doing so.

    MMEngine saves, then validates. Killed in between, it goes on with the next epoch, and what
    would have been the best checkpoint never is. The file ``last_validation`` in the work dir
    says which iteration's weights were validated last. ``tools/train.py`` adds this hook.

    What early stopping and a schedule such as ``ReduceOnPlateauLR`` have counted goes on, too.
    MMEngine keeps the first nowhere and the second as it was before the last validation. A
    training that early stopping had ended is over when it is resumed, but with more patience.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.MissedValidationHook'))
    """

    # After the hooks that get ready in ``before_train``, the checkpoint's among them.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._is_resumed = False
        self._before: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Keep what earlier validations said, without one that is not over."""
        checkpoint[KEY] = self._before or validation_states(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: Any) -> None:
        """Note that this training goes on from another one."""
        self._is_resumed = bool(runner._resume)
        self._resumed = checkpoint.pop(KEY, None)

    def before_train(self, runner: Runner) -> None:
        """Validate, where it is due at the point that training goes on from and was not done."""
        resumed, self._is_resumed = self._is_resumed, False
        if not resumed:
            return
        iteration, states = _last_validation(runner)
        if iteration != runner.iter:
            states = self._resumed
        if states:
            restore_validation_states(runner, states)
        if runner.val_loop is not None and iteration != runner.iter and _is_due(runner):
            runner.logger.info('The checkpoint has not been validated: that comes first.')
            _stand_before(runner)
            runner.val_loop.run()

    def before_val(self, runner: Runner) -> None:
        """Note what a checkpoint holds that is saved within it."""
        if _is_in_training(runner):
            self._before = validation_states(runner)

    def after_val(self, runner: Runner) -> None:
        """Note that the weights of this iteration are validated."""
        self._before = None
        if is_main_process() and _is_in_training(runner):
            done = dict(iteration=runner.iter, states=validation_states(runner))
            write_text(Path(runner.work_dir, FILE), f'{json.dumps(done)}\n')


def _is_in_training(runner: Runner) -> bool:
    return not isinstance(runner._train_loop, dict)


def _last_validation(runner: Runner) -> tuple[int | None, dict[str, Any] | None]:
    """Its iteration and what was counted then; nothing of a file that is something else."""
    try:
        content = json.loads(Path(runner.work_dir, FILE).read_text(encoding='utf-8'))
        if isinstance(content, int):
            return content, None
        return content['iteration'], content['states']
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


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
    elif loop.iter - repeated_iterations(runner) != loop.epoch * len(runner.train_dataloader):
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
