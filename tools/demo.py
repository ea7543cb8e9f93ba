"""The demo: a teacher, and a small student that goes on alone, with KD and with BTKD.

python tools/demo.py [--out demo] [--seed 0] [--fresh]
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The demo and the benchmarks are of the checkout, not of the package.
sys.path.insert(0, str(ROOT))

from btkd_det.checkpoint import weights_only  # noqa: E402
from btkd_det.errors import ConfigError  # noqa: E402
from btkd_det.interrupts import stopped_in_one_line  # noqa: E402
from btkd_det.preflight.output import check_output  # noqa: E402
from experiments.demo.demo import Demo, available_cpus  # noqa: E402
from experiments.demo.report import demo_table  # noqa: E402
from experiments.subprocesses import CommandFailed  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', default='demo', help='folder for everything (default: demo)')
    parser.add_argument('--seed', type=int, default=0, help='of the data and of every training')
    parser.add_argument(
        '--fresh', action='store_true', help='start over instead of keeping what is finished'
    )
    return parser.parse_args()


@stopped_in_one_line('What is finished is kept: the same command goes on from there.')
@weights_only()
def main():
    args = parse_args()
    try:
        check_output(args.out, '--out', folder=True)
        demo = Demo(ROOT, args.out, args.seed)
        print(
            'Draws a small detection set, trains a teacher and a student, which then goes on\n'
            'three times: alone, with KD, with BTKD. About 12 minutes on 2 cores; here: '
            f'{available_cpus()}.\n'
            f'Everything goes to {demo.out}\n',
            flush=True,
        )
        rows = demo.run(args.fresh)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    except CommandFailed as error:
        sys.exit(f'\nerror: {error}')
    print(f'\n{demo_table(rows, demo.spec.test)}\n')
    print(f'Open next  {demo.report}')
    print(f'Pictures   {demo.out / "pictures"}')
    print(f'Numbers    {demo.out / "results.json"}')
    print(f'Data       {demo.out / "data" / "contact_sheet.jpg"}')
    print(f'Models     {", ".join(str(demo.out / row["key"]) for row in rows)}')


if __name__ == '__main__':
    main()
