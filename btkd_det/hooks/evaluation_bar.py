"""One bar for a test on a terminal."""

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console

from ..report.batch_bar import BatchBar


class EvaluationBarHook(Hook):
    """Shows how far a test is, and the time left. ``tools/test.py`` adds it on a terminal.

    Args:
        screen (rich.console.Console): Where to draw.
    """

    priority = 'VERY_LOW'

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._bar: BatchBar | None = None

    def before_test_epoch(self, runner: Runner) -> None:
        """Open the bar."""
        if is_main_process():
            total = len(runner.test_loop.dataloader)
            self._bar = BatchBar('batches', total, self._screen).__enter__()

    def after_test_iter(
        self, runner: Runner, batch_idx: Any, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()
            if self._bar.done == self._bar.total:
                # What comes now takes a while with many images, and has no steps.
                self._bar.rename('counting the results')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Leave the bar as it is, and write below it."""
        if self._bar is not None:
            self._bar.rename('batches')
            self._bar.close()
