"""Average a teacher's logits per class over its training data, for IKDLoss(class_means=F).

    python tools/class_means.py CONFIG CKPT --out F [--only-right]

CONFIG and CKPT are the teacher's own. With the file, IKD's term is on from the first step;
without it, the first epoch of the training collects.
"""

import argparse
import itertools
import sys
from pathlib import Path

import torch

import btkd_det.config
from btkd_det import preflight
from btkd_det.analysis import class_means
from btkd_det.checkpoint import load_weights
from btkd_det.errors import ConfigError
from btkd_det.options import add_config_options


def parse_args():
    parser = argparse.ArgumentParser(description="Average a teacher's logits per class.")
    parser.add_argument('config', help="the teacher's config: a file or 'mmdet::...'")
    parser.add_argument('checkpoint', help='a file or an http(s) address')
    parser.add_argument('--out', metavar='FILE', required=True, help='where to write the means')
    parser.add_argument(
        '--only-right', action='store_true', help='count only rows on which the teacher is right'
    )
    parser.add_argument('--max-iters', type=int, help='batches to look at (default: all)')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=device, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of order, augmentation and sampling')
    add_config_options(parser)
    return parser.parse_args()


def prepare(args):
    """Config and model, checked before anything runs; raises ConfigError."""
    cfg = preflight.load_config(args.config, args.cfg_options)
    cfg = btkd_det.config.without_distillation(cfg)
    if not cfg.get('train_dataloader'):
        raise ConfigError('CONFIG.train_dataloader: missing; without it there is nothing to count')
    if args.max_iters is not None and args.max_iters < 1:
        raise ConfigError(f'--max-iters: got {args.max_iters}; valid: 1 or more')
    preflight.check_data(cfg, ('train_dataloader',))
    model = preflight.check_model(cfg)
    load_weights(model, args.checkpoint, 'CKPT')
    return cfg, model.to(args.device)


def main():
    args = parse_args()
    try:
        cfg, model = prepare(args)
        found = gather(cfg, model, args)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(found, args.out)
    counts = found['class_counts']
    print(
        f'\n{int(counts.sum())} rows of {int((counts > 0).sum())} of {len(counts)} classes\n'
        f'Written: {args.out}\n'
        f'Use: dict(type="btkd_det.IKDLoss", num_classes={len(counts)}, class_means="{args.out}")'
    )


def gather(cfg, model, args):
    """Run the model over the config's training data; the means, a dict of tensors."""
    from mmengine import ProgressBar
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner, set_random_seed

    set_random_seed(args.seed)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
        total = len(loader) if hasattr(loader.dataset, '__len__') else None
        batches = itertools.islice(loader, args.max_iters)
        bar = ProgressBar(min(filter(None, (total, args.max_iters)), default=0))
        return class_means.gather(model, batches, args.only_right, report=bar.update)


if __name__ == '__main__':
    main()
