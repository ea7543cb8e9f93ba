"""One training with one input, in a process of its own that is forked after all imports."""

import importlib
import logging
import os
import runpy
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import mmengine.runner
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

ROOT = Path(__file__).parents[2]
# Printed after the first step of the optimizer.
STEP = 'trial: a step was taken'


@dataclass(frozen=True)
class Outcome:
    """What came of one training.

    Attributes:
        code (int): Exit code of the process; negative where a signal ended it.
        text (str): All that was printed.
        started (bool): Whether the optimizer has taken a step.
        written (bool): Whether there is a work dir.
        seconds (float): How long it took.
    """

    code: int
    text: str
    started: bool
    written: bool
    seconds: float

    @property
    def verdict(self) -> str:
        """``trained``, ``refused``, or what is wrong: ``traceback``, ``late``, ``unclear``."""
        lines = self.text.strip().splitlines() or ['']
        if self.code == 0:
            return 'trained' if self.started else 'unclear'
        if 'Traceback (most recent call last)' in self.text:
            return 'traceback'
        if self.code < 0 or not lines[-1].startswith('error: '):
            return 'unclear'
        return 'late' if self.started or self.written else 'refused'

    @property
    def last(self) -> str:
        """The last line that was printed."""
        return (self.text.strip().splitlines() or [''])[-1]


def prepare() -> None:
    """Import once what every child would import for itself."""
    import btkd_det.config  # first: it gives MMCV its operators
    import btkd_det.preflight  # noqa: F401

    for package in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
        importlib.import_module(f'mmdet.{package}')
    torch.set_num_threads(1)


def attempt(args, folder: Path, env=None, timeout: float = 120) -> Outcome:
    """Run ``tools/train.py`` in a forked child.

    Args:
        args (list[str]): The command line after ``train.py``; ``--work-dir`` is added.
        folder (Path): The working directory; the work dir is ``run`` in it.
        env (dict[str, str], optional): Environment variables to add.
        timeout (float): Seconds after which the child is ended.

    Returns:
        Outcome: What came of it.
    """
    work_dir = folder / 'run'
    given = [str(arg) for arg in args]
    if '--work-dir' not in given:
        given += ['--work-dir', str(work_dir)]
    start = time.monotonic()
    log = folder / 'printed.txt'
    child = start_training(given, folder, log, env)
    code = _wait(child, start + timeout)
    text = log.read_text(errors='replace') if log.is_file() else ''
    started = STEP in text
    outcome = Outcome(code, text, started, work_dir.exists(), time.monotonic() - start)
    shutil.rmtree(work_dir, ignore_errors=True)
    return outcome


def start_training(args, folder: Path, log: Path, env=None, before=lambda: None) -> int:
    """Fork a child that runs ``tools/train.py``; gives its process id.

    Args:
        args (list[str]): The command line after ``train.py``.
        folder (Path): The working directory.
        log (Path): What the child prints.
        env (dict[str, str], optional): Environment variables to add.
        before (Callable): Called in the child before the training.
    """
    child = os.fork()
    if child == 0:
        _train([str(arg) for arg in args], folder, log, env or {}, before)
    return child


def _forget_earlier_runs():
    """What a new process would not have of the tests that ran before in this one."""
    # Their loggers write to streams that are gone.
    for manager in (MMLogger, MessageHub, Visualizer, DefaultScope):
        manager._instance_dict.clear()
    logging.root.handlers.clear()
    sys.setrecursionlimit(1000)


def _tell_steps():
    """In the child alone, so that the tests' own process keeps its classes."""
    take_step = OptimWrapper.step

    def step(self, **kwargs):
        take_step(self, **kwargs)
        print(STEP, flush=True)

    OptimWrapper.step = step
    # It starts compilers to ask for their version: seconds.
    mmengine.runner.Runner._log_env = lambda self, env_cfg: None


def _train(args, folder, log, env, before):
    """The child: never returns."""
    code = 1
    try:
        os.setsid()
        # As a terminal starts it, even where the tests run in the background of a shell.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        # Those that are there may be pytest's, which keeps what is printed for itself.
        sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
        os.chdir(folder)
        os.environ.update(env)
        sys.argv = ['train.py', *args]
        _forget_earlier_runs()
        _tell_steps()
        before()
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child, deadline):
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
