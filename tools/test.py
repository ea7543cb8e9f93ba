"""Evaluate a checkpoint: COCO's twelve numbers for a detector, accuracy for a classifier.

    python tools/test.py CONFIG CKPT [--classwise] [--out results.json]

CONFIG may be the distilled or the plain one. A detector's teacher is not needed. A classifier is
held against its teacher, that of the distilled config or of --teacher-config and
--teacher-checkpoint: where does it agree, and where does it know better?
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import btkd_det.config
from btkd_det import cpu_processes, preflight
from btkd_det.checkpoint import load_weights, weights_only
from btkd_det.checkpoint.writing import write_text
from btkd_det.config_file import type_name
from btkd_det.errors import ConfigError
from btkd_det.evaluation.evaluators import prepare_evaluators
from btkd_det.options import (
    add_config_options,
    add_launcher_options,
    add_teacher_options,
    set_local_rank,
)
from btkd_det.preflight.output import check_output
from btkd_det.report.table import accuracy_table, detection_table


def parse_args():
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint.')
    parser.add_argument('config', help="a config file, or a package's config ('mmdet::...')")
    parser.add_argument('checkpoint', help='a file or an http(s) address')
    parser.add_argument('--classwise', action='store_true', help='AP of each class, too')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON')
    parser.add_argument(
        '--predictions', metavar='FILE', help="write a detector's boxes as JSON, as COCO takes them"
    )
    parser.add_argument('--work-dir', help='keep the logs here (default: nowhere)')
    add_config_options(parser)
    group = parser.add_argument_group('comparing a classifier with a teacher')
    add_teacher_options(group)
    add_launcher_options(parser)
    args = parser.parse_args()
    set_local_rank(args)
    return args


def make_config(args):
    """The config to evaluate with; raises ConfigError."""
    for field in ('out', 'predictions'):
        if getattr(args, field):
            check_output(getattr(args, field), f'--{field}')
    cfg = preflight.load_config(args.config, args.cfg_options)
    teacher = find_teacher(cfg, args)
    cfg = btkd_det.config.without_distillation(cfg)
    for key in ('test_dataloader', 'test_evaluator'):
        if not cfg.get(key):
            raise ConfigError(f'CONFIG.{key}: missing; without it there is nothing to test on')
    if args.launcher != 'none' or not cfg.get('launcher'):
        cfg.launcher = args.launcher
    cfg.test_evaluator = prepare_evaluators(
        cfg, args.classwise, btkd_det.config.count_classes(cfg), args.predictions
    )
    if teacher is not None:
        cfg.test_evaluator = [
            *cfg.test_evaluator,
            dict(type='btkd_det.TeacherAgreement', teacher=teacher),
        ]
    return cfg


def find_teacher(cfg, args):
    """The teacher to compare a classifier with, a dict, or None; raises ConfigError."""
    asked = args.teacher_config or args.teacher_checkpoint
    if not type_name(cfg.model).endswith('ImageClassifier'):
        if asked:
            raise ConfigError(
                f'--teacher-config: {type_name(cfg.model)} is not compared with a teacher; valid '
                'is a config of an ImageClassifier'
            )
        return None
    if asked:
        return btkd_det.config.teacher_from_options(args.teacher_config, args.teacher_checkpoint)
    teacher = dict(cfg.model.get('teacher') or {})
    if teacher and ('config' not in teacher or not teacher.get('checkpoint')):
        print('The teacher of this config is a cache of its training data: not compared.')
        return None
    teacher.pop('cache', None)
    return teacher or None


def check(cfg, checkpoint):
    """Data, model and checkpoint, before anything runs; raises ConfigError."""
    preflight.check_types(cfg)
    found = preflight.check_data(cfg, ('test_dataloader',))
    preflight.check_samples(cfg, ('test_dataloader',), found)
    load_weights(preflight.check_model(cfg), checkpoint, 'CKPT')
    preflight.check_agreement(cfg)


def evaluate(cfg, checkpoint, work_dir):
    """Run MMEngine's test loop and return its metrics, a dict."""
    from mmengine.runner import Runner

    cfg.update(work_dir=work_dir, load_from=checkpoint, resume=False)
    runner = Runner.from_cfg(cfg)
    return runner.test(), runner.rank


@weights_only()
def main():
    args = parse_args()
    try:
        cfg = make_config(args)
        check(cfg, args.checkpoint)
        cpu_processes.join(cfg)
        with tempfile.TemporaryDirectory() as folder:
            metrics, rank = evaluate(cfg, args.checkpoint, args.work_dir or folder)
        cpu_processes.leave()
    except ConfigError as error:
        sys.exit(f'error: {error}')
    if rank:
        return
    classifier = type_name(cfg.model).endswith('ImageClassifier')
    print(accuracy_table(metrics) if classifier else detection_table(metrics))
    if args.predictions:
        print(f'Written: {args.predictions}')
    if args.out:
        text = json.dumps(
            dict(config=args.config, checkpoint=args.checkpoint, metrics=metrics), indent=2
        )
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, text + '\n')
        print(f'Written: {args.out}')


if __name__ == '__main__':
    main()
