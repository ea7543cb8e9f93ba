"""Processes that train: each forked for one run, after everything is imported."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing import connection

# Seconds between two looks of a child at its parent.
WATCH = 0.5
# Seconds that a child has to end by itself.
GRACE = 3


class Child:
    """A function in a process of its own, its output in a file.

    It ends with its parent, also where that is killed without a chance to say so.

    Args:
        target (Callable[[], None]): What it does; an exception is a failure.
        log (Path): For its output and errors.
        closing (Sequence[int]): File descriptors that it must not keep open.
    """

    def __init__(self, target, log, closing=()):
        self.log = log
        self.started = time.monotonic()
        context = multiprocessing.get_context('fork')
        self.process = context.Process(target=_run, args=(target, log, closing, os.getpid()))
        self.process.start()

    @property
    def done(self):
        """bool: Whether it has ended."""
        return not self.process.is_alive()

    @property
    def seconds(self):
        """float: Since its start."""
        return time.monotonic() - self.started

    @property
    def failed(self):
        """bool: Whether it has ended otherwise than it should."""
        return self.process.exitcode != 0

    def end(self):
        """End it, by a request first, then by force."""
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def wait_for_any(children, seconds):
    """Wait until one of some children has ended, or the time is over.

    Args:
        children (Iterable[Child]): Running.
        seconds (float): At most.
    """
    connection.wait([child.process.sentinel for child in children], seconds)


def _run(target, log, closing, parent):
    """The child's whole life."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _default_signals()
    for number in closing:
        with contextlib.suppress(OSError):
            os.close(number)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    # New ones: the parent's may hold text that is not written yet, or lead somewhere else.
    sys.stdout, sys.stderr = (os.fdopen(stream, 'w', buffering=1) for stream in (1, 2))
    try:
        target()
    except BaseException:
        traceback.print_exc()
        _flush()
        os._exit(1)
    _flush()
    # Without the exit handlers of the parent, which are copied with it.
    os._exit(0)


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def _default_signals():
    # The parent's handlers are those of a command that stops its children.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
