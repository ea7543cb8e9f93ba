"""Evaluate a checkpoint: COCO's twelve numbers for a detector.

    python tools/test.py CONFIG CKPT [--classwise] [--out results.json]

CONFIG may be the distilled or the plain one; the teacher is not needed.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import btkd_det.config
from btkd_det import preflight
from btkd_det.analysis.table import coco_table
from btkd_det.checkpoint import allow_mmengine_types, load_weights, weights_only
from btkd_det.errors import ConfigError


def parse_args():
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description='Evaluate a checkpoint by the COCO API.')
    parser.add_argument('config', help="a config file, or a package's config ('mmdet::...')")
    parser.add_argument('checkpoint', help='a file or an http(s) address')
    parser.add_argument('--classwise', action='store_true', help='AP of each class, too')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON')
    parser.add_argument('--work-dir', help='keep the logs here (default: nowhere)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change values of the config; data_root=FOLDER moves every path of the data set',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def make_config(args):
    """The config to evaluate with; raises ConfigError."""
    cfg = preflight.load_config(args.config, args.cfg_options)
    cfg = btkd_det.config.without_distillation(cfg)
    for key in ('test_dataloader', 'test_evaluator'):
        if not cfg.get(key):
            raise ConfigError(f'CONFIG.{key}: missing; without it there is nothing to test on')
    cfg.launcher = args.launcher
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if str(evaluator.get('type')).rpartition('.')[2] == 'CocoMetric':
            for key in ('proposal_nums', 'metric_items', 'iou_thrs', 'use_mp_eval'):
                evaluator.pop(key, None)
            evaluator.update(type='btkd_det.CocoAP', classwise=args.classwise)
    return cfg


def check(cfg, checkpoint):
    """Data, model and checkpoint, before anything runs; raises ConfigError."""
    preflight.check_data(cfg, ('test_dataloader',))
    load_weights(preflight.check_model(cfg), checkpoint, 'CKPT')


def evaluate(cfg, checkpoint, work_dir):
    """Run MMEngine's test loop and return its metrics, a dict."""
    from mmengine.runner import Runner

    cfg.update(work_dir=work_dir, load_from=checkpoint, resume=False)
    allow_mmengine_types()
    with weights_only():
        runner = Runner.from_cfg(cfg)
        return runner.test(), runner.rank


def main():
    args = parse_args()
    try:
        cfg = make_config(args)
        check(cfg, args.checkpoint)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    with tempfile.TemporaryDirectory() as folder:
        metrics, rank = evaluate(cfg, args.checkpoint, args.work_dir or folder)
    if rank:
        return
    print(coco_table(metrics))
    if args.out:
        text = json.dumps(
            dict(config=args.config, checkpoint=args.checkpoint, metrics=metrics), indent=2
        )
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(text + '\n')
        print(f'Written: {args.out}')


if __name__ == '__main__':
    main()
