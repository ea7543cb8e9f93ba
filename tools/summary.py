"""Write a training's page from its work dir: curves, its teacher, its pictures.

python tools/summary.py WORK_DIR

tools/train.py writes WORK_DIR/summary.html when a training is over; this does it for one that goes
on, or that was ended. Reads the files there and executes none of them.
"""

import argparse
import sys
from pathlib import Path

from btkd_det.errors import ConfigError
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.preflight.output import check_output
from btkd_det.report.summary import FILE, write_summary


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('work_dir', metavar='WORK_DIR', help='the --work-dir of a training')
    return parser.parse_args()


@stopped_in_one_line()
def main():
    args = parse_args()
    try:
        if not Path(args.work_dir).is_dir():
            raise ConfigError(f'WORK_DIR: no folder {args.work_dir}; valid: that of a training')
        check_output(Path(args.work_dir, FILE), 'WORK_DIR')
        page = write_summary(args.work_dir)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    print(f'Written: {page}')


if __name__ == '__main__':
    main()
