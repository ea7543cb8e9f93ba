"""Kill trainings with -9 and resume them: is the end that of a run that nobody killed?

    python -m tests.robustness.kills [--loop epochs|iterations] [--count 30] [--seed 0] [--out F]

A third of the kills each falls into a step, into the writing of a checkpoint and into a
validation, at a moment that is drawn; every second run has two persistent workers. Compared is
all that the last checkpoint and the best one hold, bit for bit, apart from times of the day and
durations: weights, the average's, optimizer, schedules, random states, logged losses.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .night import LOOPS, prepare_night
from .trial import prepare, start_training

PHASES = ('step', 'saving', 'validation')
#: What is announced when saving or validating is over.
OVER = 'over'
#: What differs between two runs of the same thing.
TIMES = ('time', 'data_time', 'eta', 'experiment_name', 'cfg', 'memory')


@dataclass
class Run:
    """A training in a process of its own.

    Attributes:
        code (int): Exit code; -9 where it was killed.
        events (list[tuple[str, float]]): What began, and when, in seconds.
        text (str): All that was printed.
    """

    code: int
    events: list
    text: str = field(repr=False)

    def lasted(self, phase: str) -> float:
        """The mean of the seconds from the beginning of such a phase to the next event."""
        pairs = zip(self.events, self.events[1:], strict=False)
        seconds = [after[1] - at[1] for at, after in pairs if at[0] == phase]
        return sum(seconds) / len(seconds)


def run(folder: Path, args: list, kill=None) -> Run:
    """Train; with ``kill``, (phase, number, seconds after its beginning), until then.

    Args:
        folder (Path): The working directory; the log is ``printed.txt`` in it.
        args (list): The command line of ``tools/train.py``.
        kill (tuple[str, int, float], optional): When to send signal 9.
    """
    reading, writing = os.pipe()
    log = folder / 'printed.txt'
    child = start_training(args, folder, log, before=lambda: _announce(reading, writing))
    os.close(writing)
    events, count = [], 0
    try:
        with os.fdopen(reading, 'rb', buffering=0) as pipe:
            while letter := pipe.read(1):
                phase = (*PHASES, OVER)[letter[0]]
                events.append((phase, time.monotonic()))
                count += kill is not None and phase == kill[0]
                if kill is not None and phase == kill[0] and count == kill[1] + 1:
                    time.sleep(kill[2])
                    os.kill(child, signal.SIGKILL)
                    break
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        # Its workers would notice after some seconds.
        _end_group(child)
    return Run(code, events, log.read_text(errors='replace'))


def _announce(reading, writing):
    """In the child: one byte at the beginning of each step, each writing, each validated batch."""
    from mmengine.optim import OptimWrapper
    from mmengine.runner import ValLoop

    from btkd_det.hooks.atomic_checkpoint import _AtomicRunner

    os.close(reading)
    places = ((OptimWrapper, 'update_params'), (_AtomicRunner, 'save_checkpoint'))
    for number, (owner, name) in enumerate((*places, (ValLoop, 'run_iter'))):
        setattr(owner, name, _announced(getattr(owner, name), number, writing))


def _announced(function, number, writing):
    def announced(*args, **kwargs):
        os.write(writing, bytes([number]))
        try:
            return function(*args, **kwargs)
        finally:
            # A step lasts until the next one begins, with its loading and its forward pass.
            if number > 0:
                os.write(writing, bytes([len(PHASES)]))

    return announced


def _end_group(child):
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return


def digests(folder: Path) -> dict[str, str]:
    """A hash for each entry of the last checkpoint and the best one of a work dir."""
    last = Path((folder / 'last_checkpoint').read_text().strip())
    (best,) = (Path(path) for path in _best(folder, last))
    found = dict(last=last.name, best=best.name)
    for name, path in (('last', last), ('best', best)):
        content = torch.load(path, map_location='cpu', weights_only=False)
        for key, value in content.items():
            found[f'{name}.{key}'] = _digest(value)
    return found


def _best(folder, last):
    info = torch.load(last, weights_only=False)['message_hub']['runtime_info']
    return [folder / Path(info['best_ckpt']).name]


def _digest(value):
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()[:16]


def _feed(sha, value, name=''):
    """Hash a value of a checkpoint by what it holds."""
    if hasattr(value, '_log_history'):
        value = value._log_history
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            if str(key).rpartition('/')[2] not in TIMES:
                sha.update(str(key).encode())
                _feed(sha, value[key], str(key))
    elif isinstance(value, (list, tuple)):
        sha.update(f'{len(value)} of'.encode())
        for part in value:
            _feed(sha, part)
    elif hasattr(value, 'dtype'):
        tensor = torch.as_tensor(value).detach().contiguous()
        sha.update(f'{tensor.dtype}{tuple(tensor.shape)}'.encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        sha.update(repr(value).encode())


class Study:
    """Trainings of one kind, of which one is left alone and the others are killed.

    Args:
        folder (Path): An empty one.
        loop (str): ``epochs`` or ``iterations``.
        workers (int): Of the data loader.
    """

    def __init__(self, folder: Path, loop: str, workers: int):
        self.folder, self.loop, self.workers = folder, loop, workers
        self.args = prepare_night(folder, loop, workers)
        self.work_dir = folder / 'run'
        self.whole = self._run()
        assert self.whole.code == 0, self.whole.text
        self.expected = digests(self.work_dir)

    def _run(self, *args, kill=None):
        if not args:
            shutil.rmtree(self.work_dir, ignore_errors=True)
        return run(self.folder, [*self.args, '--work-dir', self.work_dir, *args], kill)

    def kill(self, rng: random.Random, phase: str) -> dict:
        """Kill a training at a moment that is drawn, resume it and look at its end.

        Args:
            rng (random.Random): Draws the moment.
            phase (str): One of :data:`PHASES`.

        Returns:
            dict: What was done, and ``differs``, the entries that are not the same.
        """
        times = sum(event[0] == phase for event in self.whole.events)
        moment = rng.randrange(times), rng.random() * self.whole.lasted(phase)
        killed = self._run(kill=(phase, *moment))
        found = dict(
            loop=self.loop,
            workers=self.workers,
            phase=phase,
            number=moment[0] + 1,
            of=times,
            after_ms=round(1000 * moment[1], 1),
            killed=killed.code == -signal.SIGKILL,
            half_written=sorted(path.name for path in self.work_dir.glob('.*.part')),
        )
        resumed = self._run('--resume')
        found.update(exit_code=resumed.code, differs=self._differences(resumed))
        found['left_over'] = self._left_over() if resumed.code == 0 else []
        return found

    def _differences(self, resumed):
        if resumed.code != 0:
            return [resumed.text.strip().splitlines()[-1]]
        found = digests(self.work_dir)
        names = sorted(self.expected.keys() | found.keys())
        return [name for name in names if self.expected.get(name) != found.get(name)]

    def _left_over(self):
        """Files of checkpoints that a run which nobody killed would not have left."""
        kept = {self.expected['last'], self.expected['best']}
        paths = [*self.work_dir.glob('*.pth'), *self.work_dir.glob('.*.part')]
        return sorted(path.name for path in paths if path.name not in kept)


def kills(loop: str, count: int, seed: int = 0, show=lambda line: None) -> list[dict]:
    """Kill so many trainings; gives what came of each.

    Args:
        loop (str): ``epochs`` or ``iterations``.
        count (int): How many.
        seed (int): Of the moments.
        show (Callable): Is given a line for each.
    """
    found, studies = [], []
    rng = random.Random(f'{seed} {loop}')
    with tempfile.TemporaryDirectory() as folder:
        for workers in (0, 2):
            place = Path(folder, f'{workers}')
            place.mkdir()
            studies.append(Study(place, loop, workers))
        for number in range(count):
            study = studies[number % 2]
            found.append(study.kill(rng, PHASES[number // 2 % 3]))
            show(f'{len(found)}: {found[-1]}')
    return found


def main() -> int:
    from experiments.benchmarks.measure import environment

    # Before the hours in which the sources may change.
    where = environment()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--loop', choices=list(LOOPS), default='epochs')
    parser.add_argument('--count', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='a JSON file of the results')
    args = parser.parse_args()
    prepare()
    found = kills(args.loop, args.count, args.seed, lambda line: print(line, flush=True))
    same = [
        entry
        for entry in found
        if entry['exit_code'] == 0 and not entry['differs'] and not entry['left_over']
    ]
    print(f'{len(found)} kills: {len(same)} ended as the run that nobody killed')
    if args.out:
        options = f'--loop {args.loop} --count {args.count} --seed {args.seed}'
        result = dict(
            command=f'python -m tests.robustness.kills {options}',
            environment=where,
            identical=f'{len(same)} of {len(found)}',
            kills=found,
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + '\n')
    return int(len(same) < len(found))


if __name__ == '__main__':
    sys.exit(main())
