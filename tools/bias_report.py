"""What does this teacher get wrong, and what would the rules of correction make of it?

    python tools/bias_report.py CONFIG CKPT --out DIR [--data val]

CONFIG and CKPT are the teacher's own: a two-stage detector or a classifier. The training data
show what a student would be told; data that the teacher has not seen, how good it is. Writes
DIR/report.html, DIR/bias.json and DIR/pictures.
"""

import argparse
import sys
from pathlib import Path

from btkd_det.analysis import bias_report, rows, teacher_bias
from btkd_det.checkpoint import weights_only
from btkd_det.errors import ConfigError
from btkd_det.options import add_config_options, add_walk_options


def parse_args():
    parser = argparse.ArgumentParser(description='What a teacher gets wrong.')
    parser.add_argument('--out', metavar='DIR', required=True, help='where to write the report')
    parser.add_argument(
        '--data', choices=['train', 'val', 'test'], default='train', help='default: %(default)s'
    )
    add_walk_options(parser)
    add_config_options(parser)
    return parser.parse_args()


def examine(args):
    """What was found, and what of it the page names at its top; raises ConfigError."""
    from mmengine import ProgressBar

    loader = f'{args.data}_dataloader'
    cfg, model = rows.load(args.config, args.checkpoint, args.cfg_options, loader, args.device)
    data = rows.data(cfg, loader, args.seed, args.max_iters)
    bar = ProgressBar(data.count, file=sys.stdout)
    found = teacher_bias.examine(model, data.batches, report=bar.update)
    results = [count.result(data.class_names) for count, _ in found]
    about = dict(config=args.config, checkpoint=args.checkpoint, data=loader, seed=args.seed)
    about['batches'] = results[0]['batches']
    swap_channels = rows.blue_first(cfg, model, loader)
    return results, [examples.best() for _, examples in found], about, swap_channels


@weights_only()
def main():
    args = parse_args()
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        sys.exit(f'error: --out: {out} is a file; valid is a folder')
    try:
        results, *rest = examine(args)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    bias_report.write_report(out, results, *rest)
    for stage, result in enumerate(results):
        title = f'Stage {stage + 1}\n\n' if len(results) > 1 else ''
        print(f'\n\n{title}{bias_report.bias_table(result)}')
    print(f'\nWritten: {out / "report.html"}, {out / "bias.json"}')


if __name__ == '__main__':
    main()
