"""How far a walk through batches is: a bar on a terminal, a line now and then elsewhere."""

import atexit
import contextlib
import datetime
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between two frames of the bar.
PAUSE = 0.2
#: Seconds between two lines where there is no terminal.
LINE_PAUSE = 30.0


def on_terminal(file: Any = None) -> bool:
    """Whether a stream, by default standard output, is a terminal that can draw over its lines."""
    file = sys.stdout if file is None else file
    return file.isatty() and os.environ.get('TERM') not in ('dumb', 'unknown')


def screen_of(file: Any) -> Console:
    """What draws on a terminal; class names and paths are text, whatever they look like."""
    return Console(file=file, force_terminal=True, markup=False, emoji=False, highlight=False)


class BatchBar:
    """Counts batches for who waits for them; to be used in a ``with``.

    The bar has no thread of its own: workers of the data loader are forked, and a lock that
    another thread holds would never be free in them.

    Args:
        title (str): What stands before the bar.
        total (int): How many batches there are; 0 where nobody knows.
        screen (rich.console.Console, optional): A terminal to draw on. Defaults to standard
            output where that is one.
    """

    def __init__(self, title: str, total: int, screen: Console | None = None) -> None:
        self.title, self.total, self.done = title, total, 0
        self._screen = screen_of(sys.stdout) if screen is None and on_terminal() else screen
        self._start = self._drawn = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> 'BatchBar':
        if self._screen is not None:
            self._progress = Progress(
                TextColumn('{task.description}', markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn('{task.fields[left]}', markup=False),
                TimeRemainingColumn(),
                console=self._screen,
                auto_refresh=False,
                expand=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._progress.add_task(self.title, total=self.total or None, left='left')
            self._progress.start()
            # A process that is killed could not show it again.
            self._screen.show_cursor(True)
            atexit.register(self.close)
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def update(self) -> None:
        """One more batch is done."""
        self.done += 1
        now = time.monotonic()
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self.done)
            if self.done == self.total or now - self._drawn >= PAUSE:
                self._drawn = now
                self._refresh()
        elif self._screen is None and now - self._drawn >= LINE_PAUSE:
            self._drawn = now
            print(self._line(now), flush=True)

    def rename(self, title: str) -> None:
        """Another title, on a terminal."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=title)
            self._refresh()

    def close(self) -> None:
        """Give the terminal back. Calling it again does nothing."""
        progress, self._progress = self._progress, None
        if progress is not None:
            atexit.unregister(self.close)
            with contextlib.suppress(OSError):
                progress.stop()

    def _refresh(self) -> None:
        try:
            self._progress.refresh()
        except OSError:
            # The terminal is gone, and the work goes on.
            self.close()

    def _line(self, now: float) -> str:
        if not self.total:
            return f'{self.title}: {self.done} batches'
        left = (now - self._start) / self.done * (self.total - self.done)
        left = datetime.timedelta(seconds=round(left))
        return f'{self.title}: {self.done} of {self.total} batches, left {left}'
