"""Compare the distillation methods on some classes of CIFAR-100, on two CPU cores.

    python tools/study.py --data-root FOLDER [--out FILE] [--work-dir D]
    python tools/study.py --table README.md [--out FILE]

Trains a teacher, writes its logits of fixed augmented views down, then trains a student by every
method and every seed. What is finished stays: the same command goes on where it was stopped.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from btkd_det.analysis import study_table
from btkd_det.analysis.study import COMPARED, Setting, Study
from btkd_det.analysis.subprocesses import CommandFailed
from btkd_det.checkpoint import weights_only
from btkd_det.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'configs' / 'cifar100' / 'results_20x500.json'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--data-root',
        default=os.environ.get('CIFAR100_ROOT', 'data/cifar100'),
        metavar='FOLDER',
        help='the one that cifar-100-python lies in (default: CIFAR100_ROOT, or data/cifar100)',
    )
    parser.add_argument('--out', default=RESULTS, metavar='FILE', help='default: %(default)s')
    parser.add_argument('--work-dir', default='work_dirs/study', help='default: %(default)s')
    parser.add_argument('--epochs', type=int, default=Setting.epochs, help='default: %(default)s')
    parser.add_argument(
        '--teacher-epochs', type=int, default=Setting.teacher_epochs, help='default: %(default)s'
    )
    parser.add_argument('--classes', type=int, default=Setting.classes, help='default: %(default)s')
    parser.add_argument('--seeds', type=int, default=3, help='runs of each (default: %(default)s)')
    parser.add_argument(
        '--threads',
        type=int,
        default=2,
        help='of the teacher; 1 where others compute on the same cores (default: %(default)s)',
    )
    parser.add_argument(
        '--table', metavar='PAGE', help='only put the results so far into a Markdown page'
    )
    parser.add_argument('--methods', nargs='+', default=list(COMPARED), help='default: %(default)s')
    return parser.parse_args()


def read_results(path):
    """The content of a result file; raises ConfigError."""
    if not Path(path).is_file():
        raise ConfigError(f'--out: no file {path}; tools/study.py without --table writes it')
    return json.loads(Path(path).read_text(encoding='utf-8'))


@weights_only()
def main():
    args = parse_args()
    try:
        if args.table:
            study_table.write_table(read_results(args.out), args.table)
            print(f'Written: {args.table}')
            return
        setting = Setting(
            classes=args.classes, epochs=args.epochs, teacher_epochs=args.teacher_epochs
        )
        study = Study(
            args.data_root,
            args.out,
            args.work_dir,
            setting,
            tuple(args.methods),
            tuple(range(args.seeds)),
            args.threads,
        )
        study.run()
    except ConfigError as error:
        sys.exit(f'error: {error}')
    except CommandFailed as error:
        sys.exit(f'\nerror: {error}')
    except KeyboardInterrupt:
        print('\nStopped. What is finished is kept: the same command goes on from there.')
        sys.exit(130)
    print(f'\n{study_table.markdown(read_results(args.out))}\n\nWritten: {args.out}')


if __name__ == '__main__':
    main()
