"""Commands that log to a file and end with their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from experiments.subprocesses import CommandFailed, run_command, terminated_as_interrupted

SOURCE = Path(__file__).parents[2] / 'experiments' / 'subprocesses.py'


def python(code):
    return [sys.executable, '-c', code]


def is_running(pid):
    """Alive and no zombie."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != 'Z'


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_output_and_errors_go_to_the_log(tmp_path):
    code = 'import os, sys; print(os.environ["WORD"], flush=True); print("oh", file=sys.stderr)'
    run_command(python(code), tmp_path / 'new' / 'a.log', env={'WORD': 'hello'})
    assert (tmp_path / 'new' / 'a.log').read_text().split() == ['hello', 'oh']


def test_polls_while_it_runs(tmp_path):
    polls = []
    run_command(python('import time; time.sleep(0.7)'), tmp_path / 'a.log', lambda: polls.append(1))
    assert len(polls) >= 2


def test_failure_shows_status_log_and_the_last_lines(tmp_path):
    code = 'import sys; [print("line", i) for i in range(40)]; sys.exit(3)'
    with pytest.raises(CommandFailed) as caught:
        run_command(python(code), tmp_path / 'a.log')
    message = str(caught.value)
    assert 'status 3' in message
    assert str(tmp_path / 'a.log') in message
    assert message.endswith('line 39')
    assert 'line 24\n' not in message


SPAWN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_an_interrupt_ends_the_command_and_its_children(tmp_path):
    log = tmp_path / 'a.log'

    def interrupt_once_started():
        if log.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(python(SPAWN), log, interrupt_once_started)
    grandchild = int(log.read_text())
    wait_for(lambda: not is_running(grandchild))


def test_a_command_that_ignores_the_request_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr('experiments.subprocesses.GRACE', 0.2)
    code = """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(60)
    """
    log = tmp_path / 'a.log'

    def interrupt_once_started():
        if log.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(python(textwrap.dedent(code)), log, interrupt_once_started)
    assert not is_running(int(log.read_text()))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ending_the_parent_leaves_no_orphan(tmp_path, number):
    """A real parent process, ended from outside while its command runs."""
    log = tmp_path / 'a.log'
    # The module by itself: importing the package would take seconds. Ctrl-C reaches a program
    # in a terminal; one that was started in the background inherits that it is ignored.
    code = f"""
        import importlib.util, pathlib, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        spec = importlib.util.spec_from_file_location('subprocesses', {str(SOURCE)!r})
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with module.terminated_as_interrupted():
            module.run_command([sys.executable, '-c', {SPAWN!r}], pathlib.Path({str(log)!r}))
    """
    parent = subprocess.Popen(python(textwrap.dedent(code)), stderr=subprocess.DEVNULL)
    wait_for(lambda: log.is_file() and log.read_text().endswith('\n'))
    grandchild = int(log.read_text())
    os.kill(parent.pid, number)
    assert parent.wait(10) != 0
    wait_for(lambda: not is_running(grandchild))


def test_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with terminated_as_interrupted():
        assert signal.getsignal(signal.SIGTERM) is not before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
