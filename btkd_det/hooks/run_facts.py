"""Checkpoints say which teacher, data and batch size they are of."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..run_facts import KEY, run_facts


@HOOKS.register_module()
class RunFactsHook(Hook):
    """Puts what :func:`btkd_det.run_facts.run_facts` says into each checkpoint.

    ``--resume`` then warns where something else is trained on. ``tools/train.py`` adds this hook.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.RunFactsHook'))
    """

    def __init__(self) -> None:
        self._facts = None

    def before_train(self, runner: Runner) -> None:
        """Find them once, as files can be replaced later."""
        self._facts = run_facts(runner.cfg)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write them."""
        if self._facts is not None:
            checkpoint[KEY] = self._facts
