"""Do the runs of a study that are missing.

    python experiments/run.py experiments/studies/c1.py --data-root FOLDER --workers 2

What is finished stays: the same command goes on where it was stopped, however it was stopped.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A network of this size gains little from a second thread; before torch is imported.
os.environ['OMP_NUM_THREADS'] = '1'
# In the place of this folder: the package beside it, whatever is installed.
sys.path[0] = str(ROOT)

from btkd_det.errors import ConfigError  # noqa: E402
from experiments.subprocesses import terminated_as_interrupted  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('study', metavar='STUDY', help='a file of experiments/studies/')
    parser.add_argument('--data-root', required=True, metavar='FOLDER', help='of the data set')
    parser.add_argument(
        '--work-dir', default='work_dirs/experiments', help='for logs and weights (%(default)s)'
    )
    parser.add_argument(
        '--results', default=ROOT / 'experiments' / 'results', help='default: %(default)s'
    )
    parser.add_argument('--workers', type=int, default=2, metavar='N', help='default: %(default)s')
    parser.add_argument(
        '--only',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help="runs whose key matches, such as 'good/*/seed0' or 'tuning/*'; teachers follow",
    )
    parser.add_argument('--minutes', type=float, metavar='M', help='stop after so long')
    parser.add_argument(
        '--replace', action='store_true', help='do runs again that are of another config'
    )
    parser.add_argument('--list', action='store_true', help='only list the runs and their state')
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        laboratory = build(args)
        if args.list:
            for run in laboratory.wanted():
                print(f'{laboratory.results.state(run):8} {run.key}')
            return
        with terminated_as_interrupted():
            complete = laboratory.run(args.minutes)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print('\nStopped. What is finished is kept: the same command goes on from there.')
        sys.exit(130)
    if laboratory.failed:
        sys.exit(1)
    if not complete:
        sys.exit(3)


def build(args):
    """The laboratory that the arguments ask for."""
    from experiments.lab.laboratory import Laboratory
    from experiments.lab.study import read_study

    study = read_study(args.study)
    if not Path(args.data_root).is_dir():
        raise ConfigError(f'--data-root: no folder {args.data_root}')
    if args.workers < 1:
        raise ConfigError(f'--workers: {args.workers}; valid: 1 or more')
    work_dir = Path(args.work_dir).resolve()
    trainer = trainer_of(study)(study, args.data_root, work_dir / study.name)
    return Laboratory(study, trainer, args.results, work_dir, args.workers, args.only, args.replace)


def trainer_of(study):
    """The class that trains the runs of a study's kind."""
    import torch

    import btkd_det  # noqa: F401

    torch.set_num_threads(1)
    if study.kind == 'detection':
        from experiments.lab.detection import Detection

        return Detection
    from experiments.lab.classification import Classification

    return Classification


if __name__ == '__main__':
    main()
