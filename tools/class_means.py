"""Average a teacher's logits per class over its training data, for IKDLoss(class_means=F).

    python tools/class_means.py CONFIG CKPT --out F [--only-right]

CONFIG and CKPT are the teacher's own. With the file, IKD's term is on from the first step;
without it, the first epoch of the training collects.
"""

import argparse
import sys

from btkd_det.checkpoint import weights_only
from btkd_det.config.command_line import add_config_options, add_walk_options
from btkd_det.errors import ConfigError
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.losses.class_means import write_class_means
from btkd_det.models.data_classes import classes_of_meta
from btkd_det.preflight.output import check_output
from btkd_det.report import class_means, rows
from btkd_det.report.batch_bar import BatchBar
from btkd_det.report.introduction import introduction


def parse_args():
    parser = argparse.ArgumentParser(description="Average a teacher's logits per class.")
    parser.add_argument('--out', metavar='FILE', required=True, help='where to write the means')
    parser.add_argument(
        '--only-right', action='store_true', help='count only rows on which the teacher is right'
    )
    add_walk_options(parser)
    add_config_options(parser)
    return parser.parse_args()


def gather(args):
    """Run the model over the config's training data; what was found, and the header."""
    cfg, model = rows.load(args.config, args.checkpoint, args.cfg_options, place=args.device)
    data = rows.data(cfg, seed=args.seed, max_iters=args.max_iters)
    print(introduction(args.config, args.checkpoint, data.dataset))
    with BatchBar('batches', data.count) as bar:
        found = class_means.gather(model, data.batches, args.only_right, report=bar.update)
    # By the names that teacher and student are compared by, the config's.
    names = classes_of_meta(getattr(data.dataset, 'metainfo', None))
    header = class_means.describe(cfg, args.checkpoint, data.dataset, names)
    return found, header


@stopped_in_one_line('Nothing was written.')
@weights_only()
def main():
    args = parse_args()
    try:
        check_output(args.out, '--out')
        found, header = gather(args)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    means, counts = found['class_means'], found['class_counts']
    write_class_means(args.out, means, counts, header)
    if found['left_out']:
        print(f'\n{found["left_out"]} rows are left out: their logits are not finite.')
    print(
        f'\n{int(counts.sum())} rows of {int((counts > 0).sum())} of {len(counts)} classes\n'
        f'Written: {args.out}\n'
        f'Use: dict(type="btkd_det.IKDLoss", num_classes={len(counts)}, class_means="{args.out}")'
    )


if __name__ == '__main__':
    main()
