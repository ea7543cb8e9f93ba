"""Tells when a teacher is right so often that the curriculum fades distillation out."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class RightRateHook(Hook):
    """Warns once for each site where BTKD's teacher is right on almost every row.

    The weight moves from the right rows to the rectified ones; where there are hardly any of
    them, what moves is lost, and at the end of training nothing is distilled. ``tools/train.py``
    adds the hook to a distilled config.

    Args:
        limit (float): Share of right rows from which it warns. Defaults to 0.99.
        interval (int): Iterations between two looks, and over which it averages. Defaults to 100.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.RightRateHook'))
    """

    def __init__(self, limit: float = 0.99, interval: int = 100) -> None:
        self.limit = limit
        self.interval = interval
        self._warned = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: Any, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at what the losses logged."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        scalars = runner.message_hub.log_scalars
        for key, values in list(scalars.items()):
            site = key.removesuffix('.right')
            curriculum = key.endswith('.right') and f'{site}.gamma' in scalars
            if not curriculum or site in self._warned:
                continue
            rate = values.mean(self.interval)
            if rate >= self.limit:
                self._warned.add(site)
                runner.logger.warning(
                    f'{site.removeprefix("train/")}: the teacher is right on {100 * rate:.1f} % of '
                    'the rows. BTKD takes the weight off right rows as training goes, and there is '
                    'hardly a wrong one to move it to: of their loss 50 % is left at half of the '
                    'training and 2 % at 90 % of it. Use the host alone, such as KDLoss, or '
                    "schedule='none'"
                )
