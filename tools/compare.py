"""Compare trainings: mean and deviation over seeds, differences with intervals, curves.

    python tools/compare.py work_dirs/alone_seed* work_dirs/btkd_seed* --out work_dirs/comparison

A RUN is a work dir, or NAME=FOLDER. Runs of one name are one row; without names, those of one
config file are.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from btkd_det.checkpoint.writing import write_text
from btkd_det.errors import ConfigError
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.preflight.output import check_output
from btkd_det.report.comparison import compare, draw, grouped
from btkd_det.report.runs import common_metric, read_run
from btkd_det.report.table import text_table


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('runs', metavar='RUN', nargs='+', help='a work dir, or NAME=FOLDER')
    parser.add_argument('--against', metavar='NAME', help='the row to compare with (the first)')
    parser.add_argument('--metric', help='such as coco/bbox_mAP (default: the usual one)')
    parser.add_argument(
        '--best', action='store_true', help="a run's best validation, instead of its last"
    )
    parser.add_argument('--out', metavar='DIR', help='for comparison.json and curves.png')
    return parser.parse_args()


@stopped_in_one_line()
def main():
    args = parse_args()
    try:
        if args.out:
            check_output(args.out, '--out', folder=True)
        runs = [read_run(text) for text in args.runs]
        metric = common_metric(runs, args.metric)
        groups = grouped(runs)
        rows = compare(groups, metric, args.against, args.best)
        if args.out:
            write(Path(args.out), groups, rows, metric)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    print(f'{metric}, {"best" if args.best else "last"} validation of each run\n')
    print(table(rows))
    print(f'\n{explained(rows)}')


def table(rows):
    """The rows as text; fractions in percent, as COCO's tables have them."""
    # MMDetection's metrics are fractions, MMPretrain's are in percent.
    scale = 100 if all(abs(value) <= 1 for row in rows for value in row.values) else 1
    number = lambda value: f'{scale * value:.1f}'
    signed = lambda value: f'{scale * value:+.1f}'
    cells = []
    for row in rows:
        spread = '' if row.deviation is None else f' ± {number(row.deviation)}'
        difference = '' if row.difference is None else signed(row.difference)
        interval = '' if row.interval is None else '[{}, {}]'.format(*map(signed, row.interval))
        cells.append([row.name, number(row.mean) + spread, len(row.values), difference, interval])
    return text_table(['', 'mean ± deviation', 'runs', 'difference', '95 % interval'], cells)


def explained(rows):
    """What the intervals are, and what is missing for them."""
    compared = [row for row in rows if row.difference is not None]
    if not compared:
        return 'One row: nothing to compare.'
    if all(row.interval is None for row in compared):
        return 'One run says nothing of chance: train two seeds of each at least.'
    kinds = {'paired by seed' if row.pairs else 'not paired (Welch)' for row in compared}
    text = f'Differences: {" and ".join(sorted(kinds))}; an interval that holds 0 shows none.'
    if len(compared) > 1:
        text += f' {len(compared)} comparisons: by chance alone one in twenty misses.'
    return text


def write(folder, groups, rows, metric):
    """The numbers and the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    described = dict(
        metric=metric,
        rows=[dataclasses.asdict(row) for row in rows],
        runs={group.name: [str(run.folder) for run in group.runs] for group in groups},
    )
    write_text(folder / 'comparison.json', json.dumps(described, indent=2) + '\n')
    draw(groups, metric, folder / 'curves.png')


if __name__ == '__main__':
    main()
