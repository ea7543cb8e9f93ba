"""A command in a child process whose output goes to a file, and that never outlives us."""

import contextlib
import os
import signal
import subprocess

# Seconds between two looks at a running command.
POLL = 0.5
# Seconds that a command has to stop by itself before it is killed.
GRACE = 5


class CommandFailed(Exception):
    """A command ended with an error; the message has the end of its output."""


def run_command(command, log, on_poll=None, env=None):
    """Run a command to its end.

    It gets a process group of its own, and whatever ends this function, an interrupt included,
    ends that whole group.

    Args:
        command (list[str]): The command line.
        log (Path): File for its output and errors, together.
        on_poll (Callable[[], None], optional): Called twice a second while it runs.
        env (dict[str, str], optional): Variables on top of this process's own.

    Raises:
        CommandFailed: It ended with another status than 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if on_poll:
                    on_poll()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
        finally:
            if process.poll() is None:
                _end(process)
    if process.returncode:
        lines = log.read_text(errors='replace').strip().splitlines()
        raise CommandFailed(
            f'{" ".join(map(str, command))}\nended with status {process.returncode}; '
            f'all of its output: {log}; the end of it:\n' + '\n'.join(lines[-15:])
        )


@contextlib.contextmanager
def terminated_as_interrupted():
    """Within this context SIGTERM and SIGHUP raise ``KeyboardInterrupt``, as Ctrl-C does.

    So that ``finally`` runs and no child outlives a ``kill`` of its parent.
    """

    def interrupt(number, frame):
        raise KeyboardInterrupt

    names = [getattr(signal, name, None) for name in ('SIGTERM', 'SIGHUP')]
    before = {number: signal.signal(number, interrupt) for number in names if number}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process):
    """End the process group of ``process``: by a request first, then by force."""
    try:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        # Also where a second Ctrl-C ends the waiting.
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process, number):
    # The group may be gone: then all is well.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
