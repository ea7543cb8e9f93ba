"""A command's output: what a person asked for there, and the rest in the log file alone."""

import contextlib
import io
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from mmengine.logging import MMLogger

from .errors import ConfigError

#: MMEngine's line of every few iterations of a test.
TEST_LINE = re.compile(r'Epoch\(test\) .* eta: ')
#: What MMEngine logs when a run begins, in hundreds of lines.
DUMPS = re.compile(r'-\nSystem environment:|- Config:\n|- Hooks will be executed in ')
#: Lines of the log that are shown where a run without a log file fails.
TAIL = 40


def log_file(logger: logging.Logger) -> str | None:
    """The file that a logger writes, or None where this process has none."""
    files = (getattr(handler, 'baseFilename', None) for handler in logger.handlers)
    return next(filter(None, files), None)


class LoggedLines(io.TextIOBase):
    """A stream that logs what is written to it, a line at a time.

    Args:
        log (Callable[[str], None]): Called with each line that is not empty.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self._log = log
        self._left = ''
        self._logging = False

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that are whole by now."""
        # A logger that fails says so on this stream.
        if self._logging:
            return len(text)
        *lines, self._left = (self._left + text).split('\n')
        self._logging = True
        try:
            for line in lines:
                # Of a line that was drawn over, what stood there at last.
                last = line.rstrip('\r').rpartition('\r')[2].strip()
                if last:
                    self._log(last)
        finally:
            self._logging = False
        return len(text)

    def close(self) -> None:
        """Log what is left."""
        if self._left:
            self.write('\n')
        super().close()


class LogConsole:
    """Within this context MMEngine's log, prints and warnings are in the log file alone.

    Errors, and lines that are asked for, are shown. To be entered before the runner is built,
    whose logger is then handed to :meth:`started`.

    Args:
        stream (TextIO): Where lines are shown. Defaults to standard output.
        visible (re.Pattern, optional): Of the lines of the log that are shown, too.

    Attributes:
        warnings (int): How many have been logged.
    """

    def __init__(self, stream: TextIO | None = None, visible: re.Pattern | None = None) -> None:
        self.stream = stream or sys.stdout
        self.warnings = 0
        self._visible = visible
        self._logger: logging.Logger | None = None
        self._lost: str | None = None
        self._changed: dict[int, tuple[logging.StreamHandler, Any]] = {}

    def __enter__(self) -> 'LogConsole':
        self._standard = sys.stdout, sys.stderr
        self._hide()
        self._early = io.StringIO(), io.StringIO()
        sys.stdout, sys.stderr = self._early
        self._warned: list[str] = []
        self._show_warning, warnings.showwarning = warnings.showwarning, self._warn
        return self

    def started(self, logger: logging.Logger, kept: bool = True) -> None:
        """Log from here on what is printed, and what was warned of before.

        Args:
            logger (logging.Logger): The runner's.
            kept (bool): Whether its file stays. The end of one that does not is shown where this
                context ends in an error. Defaults to True.
        """
        self._lost = None if kept else log_file(logger)
        self._hide()
        sys.stdout, sys.stderr = LoggedLines(logger.info), LoggedLines(logger.info)
        sys.stderr.write(self._early[1].getvalue())
        self._logger = logger
        for text in self._warned:
            logger.warning(text)

    def _warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """In the place of what writes two lines to standard error."""
        text = f'{category.__name__}: {message} ({filename}, line {lineno})'
        if self._logger is None:
            self._warned.append(text)
        else:
            self._logger.warning(text)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        written = sys.stdout, sys.stderr
        for stream in written:
            if isinstance(stream, LoggedLines):
                stream.close()
        sys.stdout, sys.stderr = self._standard
        warnings.showwarning = self._show_warning
        for handler, stream in self._changed.values():
            handler.removeFilter(self._is_visible)
            handler.setStream(stream)
        self._changed.clear()
        if isinstance(error, Exception) and not isinstance(error, ConfigError):
            sys.stderr.writelines(self._unseen(written))

    def _unseen(self, written: tuple) -> list[str]:
        """What nobody would ever see of a run that failed."""
        if written == self._early:
            return ''.join(stream.getvalue() for stream in written).splitlines(True)[-TAIL:]
        if self._lost is not None:
            with contextlib.suppress(OSError), open(self._lost, encoding='utf-8') as log:
                return log.readlines()[-TAIL:]
        return []

    def _hide(self) -> None:
        streams = {id(stream) for stream in (*self._standard, *getattr(self, '_early', ()))}
        for logger in MMLogger._instance_dict.values():
            for handler in logger.handlers:
                of_console = (
                    type(handler) is logging.StreamHandler and id(handler.stream) in streams
                )
                if of_console and id(handler) not in self._changed:
                    before = handler.setStream(self.stream)
                    # The stream of a runner that is built within is a buffer.
                    kept = before if before in self._standard else self._standard[0]
                    self._changed[id(handler)] = handler, kept
                    handler.addFilter(self._is_visible)

    def _is_visible(self, record: logging.LogRecord) -> bool:
        self.warnings += record.levelno == logging.WARNING
        text = record.getMessage()
        return record.levelno >= logging.ERROR or bool(self._visible and self._visible.match(text))


@contextlib.contextmanager
def dumps_hidden() -> Iterator[None]:
    """Within this context a runner's environment, config and hooks go to its log file alone."""
    standard = sys.stdout
    sys.stdout = stream = _WithoutDumps(standard)
    try:
        yield
    finally:
        sys.stdout = standard
        for logger in MMLogger._instance_dict.values():
            for handler in logger.handlers:
                if getattr(handler, 'stream', None) is stream:
                    handler.setStream(standard)


class _WithoutDumps(io.TextIOBase):
    """Standard output, but for what is logged of :data:`DUMPS`; a record comes in one piece."""

    def __init__(self, standard: TextIO) -> None:
        super().__init__()
        self._standard = standard

    def isatty(self) -> bool:
        return self._standard.isatty()

    def write(self, text: str) -> int:
        return len(text) if DUMPS.search(text) else self._standard.write(text)

    def flush(self) -> None:
        self._standard.flush()
