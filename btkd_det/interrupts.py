"""Signals that ask a training, or another command, to end."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds within which a second signal is the same request: a launcher passes Ctrl-C on, which the
#: terminal has sent to all processes already.
SAME_REQUEST = 5.0


class Requests:
    """What signals have asked for.

    Attributes:
        number (int | None): The signal that came, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._first: float | None = None
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Note SIGINT and SIGTERM from now on, instead of ending by them."""
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)

    def stop_listening(self) -> None:
        """Let both do again what they did before."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Workers of a data loader inherit this; the training ends them.
        if os.getpid() != self._process:
            return
        if self._first is not None and time.monotonic() - self._first > SAME_REQUEST:
            # Asked again: at once, whatever is going on.
            self.stop_listening()
            os.kill(self._process, number)
        self.number = number
        self._first = self._first or time.monotonic()


@contextlib.contextmanager
def stopped_in_one_line(kept: str = '') -> Iterator[None]:
    """Within this context Ctrl-C ends the process with one line and the exit code 130.

    Args:
        kept (str): What there is now, a sentence. Defaults to none.

    Raises:
        SystemExit: Instead of a ``KeyboardInterrupt``.
    """
    try:
        yield
    except KeyboardInterrupt:
        print('\n' + f'Stopped. {kept}'.strip(), file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


_current = Requests()


def current() -> Requests:
    """The requests that the innermost :func:`noted` notes; without one, none ever come."""
    return _current


@contextlib.contextmanager
def noted(wanted: bool = True) -> Iterator[Requests]:
    """Within this context SIGINT and SIGTERM are noted for a hook, which ends the training.

    A second one, some seconds later, ends it at once.

    Args:
        wanted (bool): Whether to; nothing is changed otherwise, nor outside of the main thread.

    Yields:
        Requests: What came.
    """
    global _current
    before, _current = _current, Requests()
    try:
        if wanted and threading.current_thread() is threading.main_thread():
            _current.listen()
        yield _current
    finally:
        _current.stop_listening()
        _current = before
