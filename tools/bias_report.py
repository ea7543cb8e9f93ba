"""What does this teacher get wrong, and what would the rules of correction make of it?

    python tools/bias_report.py CONFIG CKPT --out DIR [--data val] [--student CONFIG CKPT]

CONFIG and CKPT are the teacher's own: a two-stage detector or a classifier. The training data
show what a student would be told; data that the teacher has not seen, how good it is. Ends with
what to do about it; with the student, trained alone, that rests on both. Writes DIR/report.html,
DIR/bias.json and DIR/pictures.
"""

import argparse
import sys
import textwrap
from pathlib import Path

from btkd_det.checkpoint import weights_only
from btkd_det.config.command_line import add_config_options, add_walk_options
from btkd_det.errors import ConfigError
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.preflight.output import check_output
from btkd_det.report import bias_report, rows, teacher_bias
from btkd_det.report.advice import advise
from btkd_det.report.batch_bar import BatchBar
from btkd_det.report.introduction import introduction


def parse_args():
    parser = argparse.ArgumentParser(description='What a teacher gets wrong.')
    parser.add_argument('--out', metavar='DIR', required=True, help='where to write the report')
    parser.add_argument(
        '--data', choices=['train', 'val', 'test'], default='train', help='default: %(default)s'
    )
    parser.add_argument(
        '--student',
        nargs=2,
        metavar=('CONFIG', 'CKPT'),
        help='a student trained alone: is the teacher ahead of it?',
    )
    add_walk_options(parser)
    add_config_options(parser)
    return parser.parse_args()


def examine(args, config, checkpoint, options=None):
    """What a model gets wrong; raises ConfigError.

    Returns:
        tuple: For each stage of a cascade what was found and the examples, and whether the first
        channel of these is blue.
    """
    loader = f'{args.data}_dataloader'
    cfg, model = rows.load(config, checkpoint, options, loader, args.device)
    data = rows.data(cfg, loader, args.seed, args.max_iters)
    print(introduction(config, checkpoint, data.dataset))
    with BatchBar('batches', data.count) as bar:
        found = teacher_bias.examine(model, data.batches, report=bar.update)
    results = [count.result(data.class_names) for count, _ in found]
    examples = [examples.best() for _, examples in found]
    return results, examples, rows.blue_first(cfg, model, loader)


def describe(args, result):
    """What the page names at its top."""
    about = dict(config=args.config, checkpoint=args.checkpoint)
    about.update(data=f'{args.data}_dataloader', seed=args.seed, batches=result['batches'])
    if args.student:
        about['student'] = ' '.join(args.student)
    return about


@stopped_in_one_line('The report is not finished.')
@weights_only()
def main():
    args = parse_args()
    out = Path(args.out)
    try:
        check_output(out, '--out', folder=True)
        results, examples, swap_channels = examine(
            args, args.config, args.checkpoint, args.cfg_options
        )
        student = examine(args, *args.student)[0][-1] if args.student else None
    except ConfigError as error:
        sys.exit(f'error: {error}')
    advice = advise(results[-1], student)
    about = describe(args, results[-1])
    bias_report.write_report(out, results, examples, about, swap_channels, advice)
    for stage, result in enumerate(results):
        title = f'Stage {stage + 1}\n\n' if len(results) > 1 else ''
        print(f'\n{title}{bias_report.bias_table(result)}')
    print('\n' + '\n'.join(textwrap.fill(line, 96) for line in advice.lines()))
    print(f'\nWritten: {out / "report.html"}, {out / "bias.json"}')


if __name__ == '__main__':
    main()
