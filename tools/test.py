"""Evaluate a checkpoint: COCO's twelve numbers for a detector, accuracy for a classifier.

    python tools/test.py CONFIG CKPT [--classwise] [--out results.json]

CONFIG may be the distilled or the plain one. With --teacher-config and --teacher-checkpoint the
model is held against a teacher: where does it agree, and where does it know better? A classifier is
held against that of its distilled config without being asked. MMEngine's log, with the environment
and the whole config, is in the log file of --work-dir alone: in a folder of the test's own there,
named after its time, with the numbers and the config. A training's work dir can be given, too.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.file_proxy import FileProxy

import btkd_det.config
from btkd_det import cpu_processes, preflight
from btkd_det.checkpoint import load_weights, weights_only
from btkd_det.checkpoint.writing import write_text
from btkd_det.config.command_line import (
    add_config_options,
    add_launcher_options,
    add_teacher_options,
    set_local_rank,
)
from btkd_det.config.reading import metrics_of, type_name
from btkd_det.errors import ConfigError
from btkd_det.evaluation.evaluators import prepare_evaluators, with_metric
from btkd_det.evaluation.plain_values import plain_value
from btkd_det.hooks.evaluation_bar import EvaluationBarHook
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.log_console import TEST_LINE, LogConsole, log_file
from btkd_det.preflight.learned_classes import warn_of_other_classes
from btkd_det.preflight.output import check_output
from btkd_det.report.batch_bar import on_terminal, screen_of
from btkd_det.report.introduction import introduction
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
    parser.add_argument(
        '--fast-eval', action='store_true', help="count COCO's numbers by faster-coco-eval"
    )
    parser.add_argument('--work-dir', help='keep the logs in a folder here (default: nowhere)')
    add_config_options(parser)
    group = parser.add_argument_group('comparing with a teacher')
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
        cfg,
        args.classwise,
        btkd_det.config.count_classes(cfg),
        args.predictions,
        args.fast_eval,
    )
    if teacher is not None:
        kind = 'TeacherAgreement' if is_classifier(cfg) else 'FoundObjects'
        metric = dict(type=f'btkd_det.{kind}', teacher=teacher)
        given = f'teacher: {teacher["checkpoint"]}'
        cfg.test_evaluator = with_metric(cfg.test_evaluator, metric, given)
    return cfg


def is_classifier(cfg):
    """Whether a config's model classifies images."""
    return type_name(cfg.model).endswith('ImageClassifier')


def find_teacher(cfg, args):
    """The teacher to compare with, a dict, or None; raises ConfigError."""
    if args.teacher_config or args.teacher_checkpoint:
        return btkd_det.config.teacher_from_options(args.teacher_config, args.teacher_checkpoint)
    # A detector's costs as much as the student's test again: only where it is named.
    if not is_classifier(cfg):
        return None
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
    meta = load_weights(preflight.check_model(cfg), checkpoint, 'CKPT', compiled=True)
    warn_of_other_classes(cfg, meta, checkpoint)
    preflight.check_agreement(cfg)


def evaluate(cfg, args, work_dir):
    """Run MMEngine's test loop.

    Returns:
        tuple[dict, Runner, int]: The metrics, the runner, and how often the log warns.
    """
    from btkd_det.evaluation.runner import TestRunner

    cfg.update(work_dir=work_dir, load_from=args.checkpoint, resume=False)
    bar = on_terminal()
    screen = screen_of(sys.stdout)
    # On a terminal what is shown goes above the bar.
    stream = FileProxy(screen, sys.stdout) if bar else sys.stdout
    with LogConsole(stream, visible=None if bar else TEST_LINE) as console:
        runner = TestRunner.from_cfg(cfg)
        console.started(runner.logger, kept=bool(args.work_dir))
        if runner.rank == 0:
            data = runner.test_loop.dataloader.dataset
            print(introduction(args.config, args.checkpoint, data, teacher_of(cfg)), file=stream)
            stream.flush()
        if bar:
            runner.register_hook(EvaluationBarHook(screen))
        return runner.test(), runner, console.warnings


def teacher_of(cfg):
    """The teacher that an evaluator compares with, or None."""
    metrics = metrics_of(cfg.test_evaluator)
    return next((metric['teacher'] for metric in metrics if 'teacher' in metric), None)


def conclusion(args, runner, warnings):
    """Where the log is, and whether it warns."""
    count = f' ({warnings} warning{"s" if warnings > 1 else ""})' if warnings else ''
    if args.work_dir:
        return f'Log: {log_file(runner.logger)}{count}'
    return f'Log: not kept{count}; --work-dir FOLDER keeps it'


@stopped_in_one_line('The evaluation is not finished.')
@weights_only()
def main():
    args = parse_args()
    try:
        cfg = make_config(args)
        check(cfg, args.checkpoint)
        cpu_processes.join(cfg)
        with tempfile.TemporaryDirectory() as folder:
            metrics, runner, warnings = evaluate(cfg, args, args.work_dir or folder)
        cpu_processes.leave()
    except ConfigError as error:
        sys.exit(f'error: {error}')
    if runner.rank:
        return
    print(f'\n{accuracy_table(metrics) if is_classifier(cfg) else detection_table(metrics)}\n')
    if args.predictions:
        print(f'Written: {args.predictions}')
    if args.out:
        found = dict(config=args.config, checkpoint=args.checkpoint, metrics=plain_value(metrics))
        text = json.dumps(found, indent=2, allow_nan=False)
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, text + '\n')
        print(f'Written: {args.out}')
    print(conclusion(args, runner, warnings))


if __name__ == '__main__':
    main()
