"""Trials in processes of their own, several at once, each within a limit of time."""

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from btkd_det.checkpoint.writing import write_text
from experiments.lab.pool import Child, wait_for_any

from .table import COLUMNS, UNFINISHED, Found

# Seconds between two looks at the running trials.
POLL = 0.2
# What a process ends with that the system killed, for want of memory most often.
KILLED = -9

Trial = Callable[[str], Iterator[Found]]


def run_trials(
    names: Iterable[str],
    trial: Trial,
    workers: int = 1,
    limit: float = 600,
    minutes: float | None = None,
) -> Iterator[tuple[str, Found]]:
    """Try configs, several at once; what is given up ends all that run.

    Args:
        names (Iterable[str]): Of configs.
        trial (Callable): Gives what is found of a config, more each time. It runs in a process
            that is forked from this one.
        workers (int): How many processes run at once. Defaults to 1.
        limit (float): Seconds after which a trial is ended. Defaults to 600.
        minutes (float, optional): After these no trial is begun.

    Yields:
        tuple: The name and what was found, with the seconds it took, as each ends.
    """
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    waiting = iter(names)
    running: dict[str, tuple[Child, Path]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while True:
                while len(running) < workers and time.monotonic() < end:
                    name = next(waiting, None)
                    if name is None:
                        break
                    running[name] = _start(trial, name, Path(folder) / name.replace('/', '+'))
                if not running:
                    return
                wait_for_any([child for child, _ in running.values()], POLL)
                for name, (child, path) in list(running.items()):
                    if child.done or child.seconds >= limit:
                        seconds = round(child.seconds)
                        finished = child.done
                        child.end()
                        del running[name]
                        yield name, _found(child, path, finished, limit) | dict(seconds=seconds)
        finally:
            for child, _ in running.values():
                child.end()


def _start(trial: Trial, name: str, path: Path) -> tuple[Child, Path]:
    path.mkdir()
    return Child(partial(_run, trial, name, path / 'found.json'), path / 'log'), path


def _run(trial: Trial, name: str, path: Path) -> None:
    """In the child: writes what is found each time that there is more."""
    for found in trial(name):
        write_text(path, json.dumps(found))


def _found(child: Child, path: Path, finished: bool, limit: float) -> Found:
    """What a trial found; the column that it did not come to says why."""
    written = path / 'found.json'
    found: Found = json.loads(written.read_text()) if written.is_file() else {}
    missing = [column for column in COLUMNS if column not in found]
    if not finished:
        reason = f'{UNFINISHED}: took more than {limit:g} s'
        return found | dict.fromkeys(missing, reason) | dict(limit=limit)
    status = child.process.exitcode
    if status == KILLED:
        return found | dict.fromkeys(missing, f'{UNFINISHED}: the system killed the process')
    if not child.failed or not missing:
        return found
    lines = (path / 'log').read_text(errors='replace').strip().splitlines()
    word = 'fails' if missing[0] == 'host' else 'fault'
    reason = f'{word}: ended with status {status}: {(lines or ["no output"])[-1]}'
    return found | {missing[0]: reason[:300]}
