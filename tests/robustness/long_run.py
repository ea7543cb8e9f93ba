"""Train for long: does the memory grow, and does it matter what becomes of the teacher's file?

    python -m tests.robustness.long_run [--steps 2000] [--out docs/reliability/long_run.json]

The training of :mod:`tests.robustness.night`, counted in iterations, with a validation and a
checkpoint at every quarter. After step 20 the teacher's checkpoint is replaced by another file, and
later its config is deleted.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from .night import prepare_night
from .trial import prepare, start_training

LINES = """
train_cfg.update(max_iters={steps}, val_interval={quarter})
default_hooks['checkpoint'].update(interval={quarter})
custom_imports['imports'].append('tests.robustness.memory')
custom_hooks += [dict(type='MemoryHook', every={every}, teacher='{folder}/teacher')]
"""


def long_run(folder: Path, steps: int, every: int) -> list[dict]:
    """Train for so many steps; what :class:`~tests.robustness.memory.MemoryHook` found.

    Args:
        folder (Path): An empty one.
        steps (int): Of the training.
        every (int): Steps between two looks at the memory.
    """
    lines = LINES.format(steps=steps, quarter=steps // 4, every=every, folder=folder)
    args = [*prepare_night(folder, 'iterations', lines=lines), '--work-dir', folder / 'run']
    log = folder / 'printed.txt'
    child = start_training(args, folder, log)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, log.read_text(errors='replace')[-3000:]
    return json.loads((folder / 'run' / 'memory.json').read_text())


def main() -> int:
    from experiments.benchmarks.measure import environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=2000)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    where = environment()
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        found = long_run(Path(folder), args.steps, 100)
    early, last = found[1], found[-1]
    growth = round(last['mib'] - early['mib'], 1)
    print(f'{args.steps} steps: {growth} MiB more after step {last["step"]} than {early["step"]}')
    if args.out:
        command = f'python -m tests.robustness.long_run --steps {args.steps}'
        result = dict(command=command, environment=where, growth_mib=growth, memory=found)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
