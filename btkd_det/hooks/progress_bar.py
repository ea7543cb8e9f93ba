"""One bar on a terminal that a person can follow."""

import atexit
import contextlib
import datetime
import logging
import math
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..registry import HOOKS
from ..report.batch_bar import PAUSE, on_terminal, screen_of
from ..report.runs import METRICS, at_best, main_metric
from ..report.terms import terms_of
from .batch_stream import counts_iterations

#: Lines that say again and again what the bar shows: of MMEngine's LoggerHook.
REPEATED = re.compile(r'(Epoch|Iter)\(train\) |(Epoch|Iter)\(val\) .* eta: |Exp name: ')
#: Iterations over which a value is averaged, as in MMEngine's log by default.
WINDOW = 10

_open: list['ProgressBarHook'] = []


@contextlib.contextmanager
def bars_closed() -> Iterator[None]:
    """At the end of this context no bar is open, whatever ended the training."""
    try:
        yield
    finally:
        for hook in [*_open]:
            hook.close()


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows iteration, epoch, time left, loss, the distillation's terms and the last validation.

    On a terminal only; anywhere else it does nothing. MMEngine's lines appear above the bar, but
    for those of every few iterations, whose values the bar has; the files of the log have all of
    them. ``tools/train.py`` adds the hook on a terminal.

    The bar has no thread of its own: workers of the data loader are forked, and a lock that
    another thread holds would never be free in them.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.ProgressBarHook'))
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._stack: contextlib.ExitStack | None = None
        self._drawn = 0.0
        self._left = ''
        self._validated: dict[str, list[tuple[float, str]]] = {}

    def before_train(self, runner: Runner) -> None:
        """Open the bar."""
        if _open or not is_main_process() or not on_terminal():
            return
        console = screen_of(sys.stdout)
        self._progress = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn('{task.fields[status]}', markup=False),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._training = self._progress.add_task(
            'training', total=runner.max_iters, completed=runner.iter, status=''
        )
        self._validation: Any = None
        self._terms = self._table({})
        self._stack = contextlib.ExitStack()
        _open.append(self)
        atexit.register(self.close)
        live = Live(get_renderable=self._renderable, console=console, auto_refresh=False)
        self._live = self._stack.enter_context(live)
        # A process that is killed could not show it again.
        console.show_cursor(True)
        self._stack.enter_context(_logged_above())
        self._draw(runner, always=True)

    def after_train_iter(
        self, runner: Runner, batch_idx: Any, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        self._draw(runner, done=runner.iter + 1, always=runner.iter + 1 >= runner.max_iters)

    def before_val_epoch(self, runner: Runner) -> None:
        """Show a second bar."""
        if self._stack is not None:
            total = len(runner.val_loop.dataloader)
            self._validation = self._progress.add_task('validation', total=total, status='')
            self._refresh(always=True)

    def after_val_iter(
        self, runner: Runner, batch_idx: Any, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move the second bar."""
        if self._stack is not None and self._validation is not None:
            self._progress.update(self._validation, completed=batch_idx + 1)
            self._refresh()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Show what was measured instead of the second bar."""
        if self._stack is None:
            return
        if self._validation is not None:
            self._progress.remove_task(self._validation)
            self._validation = None
        metrics = metrics or {}
        name = main_metric(metrics)
        if name is not None:
            iterations = counts_iterations(runner)
            at = f'iteration {runner.iter}' if iterations else f'epoch {runner.epoch}'
            self._validated.setdefault(name, []).append((float(metrics[name]), at))
        self._draw(runner, always=True)

    def after_train(self, runner: Runner) -> None:
        """Leave the bar as it is, and write below it."""
        self.close()

    def close(self) -> None:
        """Give the terminal back. Calling it again does nothing."""
        stack, self._stack = self._stack, None
        if stack is not None:
            _open.remove(self)
            atexit.unregister(self.close)
            with contextlib.suppress(OSError):
                stack.close()

    def _renderable(self) -> Group:
        return Group(self._terms, self._progress)

    def _draw(self, runner: Runner, done: int | None = None, always: bool = False) -> None:
        if self._stack is None or not (always or time.monotonic() - self._drawn >= PAUSE):
            return
        values = _averaged(runner)
        if done is not None:
            self._progress.update(self._training, completed=done)
            left = runner.message_hub.runtime_info.get('eta')
            self._left = '' if left is None else f'left {datetime.timedelta(seconds=int(left))}  '
        loss = f'loss {values["loss"]:.4g}' if 'loss' in values else ''
        status = f'{self._left}{loss}'
        self._progress.update(self._training, description=_place(runner), status=status)
        self._terms = self._table(values)
        self._refresh(always=True)

    def _table(self, values: dict[str, float]) -> Table:
        """A line for each site, and one for the validations."""
        lines: dict[str, list[str]] = {}
        for term in terms_of(values):
            text = f'{term.title} {term.text(values[term.key])}'
            lines.setdefault(term.site, []).append(text)
        for name, measured in self._validated.items():
            value, at = measured[-1]
            best, best_at = max(measured, key=lambda pair: at_best(pair[0]))
            lines[name] = [f'{value:.4g} ({at})']
            if at != best_at and name in METRICS and not math.isnan(best):
                lines[name].append(f'best {best:.4g} ({best_at})')
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        for name, parts in lines.items():
            table.add_row(Text(name, style='bold'), Text(' · '.join(parts)))
        return table

    def _refresh(self, always: bool = False) -> None:
        if always or time.monotonic() - self._drawn >= PAUSE:
            self._drawn = time.monotonic()
            try:
                self._live.refresh()
            except OSError:
                # The terminal is gone, and the training goes on.
                self.close()


def _averaged(runner: Runner) -> dict[str, float]:
    """Loss and distillation's entries, averaged as in the log."""
    scalars = runner.message_hub.log_scalars
    names = {key.removeprefix('train/'): key for key in [*scalars] if key.startswith('train/')}
    return {
        name: float(scalars[key].mean(WINDOW))
        for name, key in names.items()
        if name == 'loss' or name.startswith('distill.')
    }


def _place(runner: Runner) -> str:
    if counts_iterations(runner):
        return 'iterations'
    return f'epoch {min(runner.epoch + 1, runner.max_epochs)}/{runner.max_epochs}'


@contextlib.contextmanager
def _logged_above() -> Iterator[None]:
    """Within this context MMEngine's loggers write above the bar, and what it shows not at all."""
    # The bar has put itself in the place of both; the handlers still hold the terminal.
    streams = {id(sys.__stdout__): sys.stdout, id(sys.__stderr__): sys.stderr}
    streams |= {
        id(getattr(proxy, 'rich_proxied_file', None)): proxy for proxy in (sys.stdout, sys.stderr)
    }
    hide = lambda record: not REPEATED.match(record.getMessage())
    changed = []
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler and id(handler.stream) in streams:
                changed.append((handler, handler.setStream(streams[id(handler.stream)])))
                handler.addFilter(hide)
    try:
        yield
    finally:
        for handler, stream in changed:
            handler.removeFilter(hide)
            handler.setStream(stream)
