"""Ctrl-C ends every command with one line and the exit code 130."""

import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

from btkd_det import __main__, doctor
from btkd_det.report import batch_bar
from tests.report.conftest import detector, folder  # noqa: F401

TOOLS = Path(__file__).parents[2] / 'tools'
COMMANDS = sorted(path.stem for path in TOOLS.glob('*.py'))


def interrupt(*args, **keys):
    os.kill(os.getpid(), signal.SIGINT)


def stopped(call, capsys):
    """What is printed where a call ends by SIGINT."""
    try:
        call()
        code = 0
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:  # would end the tests, too
        code = None
    assert code == 130
    error = capsys.readouterr().err
    assert error.startswith('\nStopped.')
    assert error.count('\n') == 2
    return error


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_ends_in_one_line(name, monkeypatch, capsys):
    tool = runpy.run_path(str(TOOLS / f'{name}.py'))
    monkeypatch.setitem(tool['parse_args'].__globals__, 'parse_args', interrupt)
    stopped(tool['main'], capsys)


@pytest.mark.parametrize(
    ('name', 'words'),
    [('bias_report', 'The report is not finished.'), ('class_means', 'Nothing was written.')],
)
def test_in_the_midst_of_the_data(name, words, monkeypatch, capsys, folder):  # noqa: F811
    monkeypatch.setattr(batch_bar.BatchBar, 'update', interrupt)
    out = folder / 'out'
    given = [folder / 'config.py', folder / 'teacher.pth', '--out', out, '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, given)])
    run = lambda: runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')
    assert words in stopped(run, capsys)
    assert not out.exists()


def test_while_the_module_imports_what_a_command_needs(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['btkd_det', COMMANDS[0]])
    monkeypatch.setattr(runpy, 'run_path', interrupt)
    stopped(__main__.main, capsys)


def test_the_doctor(monkeypatch, capsys):
    monkeypatch.setattr(doctor, 'diagnose', interrupt)
    monkeypatch.setattr(sys, 'argv', ['doctor'])
    stopped(lambda: sys.exit(doctor.main()), capsys)
