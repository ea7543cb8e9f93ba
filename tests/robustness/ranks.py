"""Trainings of two processes: forked, and rehearsed as PyTorch's launcher and Slurm start them."""

import os
import signal
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .trial import STEP, start_training


@dataclass
class Rank:
    """One process of a training.

    Attributes:
        process (int): Its id.
        log (Path): What it prints.
        code (int | None): Its exit code, once it has ended.
    """

    process: int
    log: Path
    code: int | None = None

    @property
    def text(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text(errors='replace') if self.log.is_file() else ''

    @property
    def last(self) -> str:
        """The last line of it."""
        return (self.text.strip().splitlines() or [''])[-1]


def free_port() -> int:
    """A port at which nobody listens."""
    with closing(socket.socket()) as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def of_pytorch(rank: int, port: int) -> dict:
    """The environment of one of two processes, as torchrun gives it."""
    names = dict(RANK=rank, WORLD_SIZE=2, LOCAL_RANK=rank, MASTER_ADDR='127.0.0.1')
    return {name: str(value) for name, value in {**names, 'MASTER_PORT': port}.items()}


def of_slurm(rank: int, port: int) -> dict:
    """The environment of one of two processes, as ``srun`` gives it; the port is its user's."""
    names = dict(SLURM_PROCID=rank, SLURM_NTASKS=2, SLURM_LOCALID=0, SLURM_NODELIST='localhost')
    return {name: str(value) for name, value in {**names, 'MASTER_PORT': port}.items()}


def start(folder: Path, args: list, launcher: str = 'pytorch') -> list[Rank]:
    """Start two processes of a training; their working directory is ``folder``."""
    port = free_port()
    environment = {'pytorch': of_pytorch, 'slurm': of_slurm}[launcher]
    ranks = []
    for number in range(2):
        log = folder / f'rank{number}.txt'
        log.unlink(missing_ok=True)
        given = [*args, '--launcher', launcher]
        env = environment(number, port)
        ranks.append(Rank(start_training(given, folder, log, env), log))
    return ranks


def wait_for_steps(ranks: list[Rank], count: int, seconds: float = 120) -> None:
    """Wait until every process has taken so many steps."""
    deadline = time.monotonic() + seconds
    while any(rank.text.count(STEP) < count for rank in ranks):
        assert time.monotonic() < deadline, ranks[0].text[-2000:]
        time.sleep(0.02)


def wait(ranks: list[Rank], seconds: float = 120) -> float:
    """Wait until every process has ended; gives after how many seconds.

    Those that have not in time are killed, and keep ``None`` as their code.
    """
    begin = time.monotonic()
    left = list(ranks)
    while left and time.monotonic() < begin + seconds:
        for rank in list(left):
            ended, status = os.waitpid(rank.process, os.WNOHANG)
            if ended:
                rank.code = os.waitstatus_to_exitcode(status)
                left.remove(rank)
        time.sleep(0.02)
    for rank in left:
        os.kill(rank.process, signal.SIGKILL)
        os.waitpid(rank.process, 0)
    return time.monotonic() - begin
