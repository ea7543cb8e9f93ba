"""Start trainings as launchers start them, and end them as they are ended: does all of it end?

    python -m tests.robustness.processes [--out docs/reliability/processes.json]

torchrun on one machine, two agents that meet as those of two machines do, a process that is
killed, Ctrl-C and SIGTERM to torchrun, each on ``tools/train.py`` with gloo on a CPU. What Slurm
starts is in ``test_ranks.py``.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .night import prepare_night
from .ranks import free_port
from .trial import ROOT, prepare

PATIENCE = 300


class Agent:
    """A torchrun with its processes.

    Args:
        args (list): The command line of ``tools/train.py``.
        log (Path): What all of them print.
        options (list[str]): Of torchrun.
    """

    def __init__(self, args: list, log: Path, options: list):
        self.log = log
        command = [sys.executable, '-m', 'torch.distributed.run', *options]
        command += [str(ROOT / 'tools' / 'train.py'), *map(str, args), '--launcher', 'pytorch']
        env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        with open(log, 'wb') as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )

    @property
    def text(self) -> str:
        """All that was printed."""
        return self.log.read_text(errors='replace')

    def wait_for(self, words: str) -> None:
        """Wait until it has been printed."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.text and self.process.poll() is None:
            assert time.monotonic() < deadline, self.text[-2000:]
            time.sleep(0.05)

    def trainings(self) -> list[int]:
        """The ids of its training processes."""
        found = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text()
        return [int(number) for number in found.split()]

    def end(self) -> tuple[int | None, float]:
        """Exit code, None where it had to be killed, and how many seconds it took."""
        begin = time.monotonic()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - begin
        for number in [self.process.pid]:
            try:
                os.killpg(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return code, round(seconds, 1)


def line_with(text: str, *words: str) -> str:
    """The first line that has all of the words, or nothing."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if all(word in line for word in words)), '')


def one_machine(folder: Path, args: list) -> dict:
    agent = Agent(args, folder / 'log', ['--standalone', '--nproc-per-node=2'])
    code, seconds = agent.end()
    return dict(exit_code=code, seconds=seconds, done='Done. Logs' in agent.text)


def two_machines(folder: Path, args: list) -> dict:
    agents = _two_agents(folder, args)
    ends = [agent.end() for agent in agents]
    return dict(
        exit_codes=[code for code, _ in ends],
        done=['Done. Logs' in agent.text for agent in agents],
    )


def killed_elsewhere(folder: Path, args: list) -> dict:
    """The process of the second machine is killed: what does the first machine's say?"""
    agents = _two_agents(folder, args)
    agents[0].wait_for('Iter(train)')
    for number in agents[1].trainings():
        os.kill(number, signal.SIGKILL)
    ends = [agent.end() for agent in agents]
    return dict(
        exit_codes=[code for code, _ in ends],
        seconds=[seconds for _, seconds in ends],
        first_says=line_with(agents[0].text, 'error: rank', 'has ended'),
        second_says=line_with(agents[1].text, 'Signal 9'),
    )


def killed(folder: Path, args: list) -> dict:
    agent = Agent(args, folder / 'log', ['--standalone', '--nproc-per-node=2'])
    agent.wait_for('Iter(train)')
    os.kill(agent.trainings()[1], signal.SIGKILL)
    code, seconds = agent.end()
    text = agent.text
    return dict(
        exit_code=code,
        seconds=seconds,
        says=[line_with(text, 'rank', '1', '(local_rank: 1)'), line_with(text, 'Signal 9')],
    )


def asked(folder: Path, args: list, number: int) -> dict:
    """A signal to torchrun, as Slurm and people give it."""
    args = [*args, '--save-on-interrupt']
    agent = Agent(args, folder / 'log', ['--standalone', '--nproc-per-node=2'])
    agent.wait_for('Iter(train)')
    os.kill(agent.process.pid, number)
    code, seconds = agent.end()
    work_dir = Path(args[args.index('--work-dir') + 1])
    marker = work_dir / 'last_checkpoint'
    return dict(
        exit_code=code,
        seconds=seconds,
        says=line_with(agent.text, 'error: ended by'),
        checkpoint=Path(marker.read_text()).name if marker.is_file() else None,
    )


def _two_agents(folder, args):
    """Node 0 keeps what the processes look up; the other agent is one of its own."""
    options = ['--nnodes=2', '--nproc-per-node=1', '--master-addr=127.0.0.1', '--max-restarts=0']
    options.append(f'--master-port={free_port()}')
    return [Agent(args, folder / f'log{i}', [*options, f'--node-rank={i}']) for i in range(2)]


CASES = {
    'torchrun, one machine': one_machine,
    'torchrun, two machines': two_machines,
    'a process is killed': killed,
    "another machine's process is killed": killed_elsewhere,
    'SIGTERM to torchrun': lambda *given: asked(*given, signal.SIGTERM),
    'SIGINT to torchrun': lambda *given: asked(*given, signal.SIGINT),
}


def main() -> int:
    from experiments.benchmarks.measure import environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    prepare()
    found = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            lines = "default_hooks['logger'].update(interval=1)\n"
            given = prepare_night(Path(folder), 'iterations', lines=lines)
            found[name] = case(Path(folder), [*given, '--work-dir', str(Path(folder, 'run'))])
        print(f'{name}: {found[name]}', flush=True)
    if args.out:
        command = 'python -m tests.robustness.processes'
        result = dict(command=command, environment=environment(), cases=found)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
