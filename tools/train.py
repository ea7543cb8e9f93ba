"""Train any MMEngine config: one of this package, or a user's own, plain or distilled.

python tools/train.py CONFIG [--work-dir D] [--resume [CKPT]] [--save-on-interrupt] [--amp]
python tools/train.py CONFIG --teacher-config T --teacher-checkpoint C [--distill PRESET]
    [--pictures [N]]
"""

import argparse
import contextlib
import itertools
import os
import sys
from pathlib import Path

from mmengine.device import get_device
from mmengine.registry import HOOKS

import btkd_det.config
from btkd_det import cpu_processes, preflight
from btkd_det.checkpoint import weights_only
from btkd_det.checkpoint.resuming import newest_whole
from btkd_det.checks import check_count
from btkd_det.config.command_line import (
    add_config_options,
    add_launcher_options,
    add_teacher_options,
    set_local_rank,
)
from btkd_det.config.log_options import average_log
from btkd_det.config.named_types import builds, class_of
from btkd_det.config.options import merge_options, split_options
from btkd_det.errors import BUILD_ERRORS, ConfigError, InterruptedTraining, TrainingError
from btkd_det.hooks.progress_bar import ProgressBarHook, bars_closed
from btkd_det.interrupts import noted, stopped_in_one_line
from btkd_det.log_console import dumps_hidden, log_file
from btkd_det.lost_ranks import introduce, lost_ranks_named
from btkd_det.models.probe import input_shape
from btkd_det.preflight.work_dir import check_work_dir
from btkd_det.report.batch_bar import on_terminal
from btkd_det.report.summary import evaluate_command, write_summary
from btkd_det.work_dir_lock import work_dir_locked


def parse_args():
    parser = argparse.ArgumentParser(description='Train a model, with or without a teacher.')
    parser.add_argument('config', help="a config file, or a package's config ('mmdet::...')")
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='go on from CKPT, or without one from the latest checkpoint in the work dir',
    )
    parser.add_argument(
        '--save-on-interrupt',
        action='store_true',
        help='Ctrl-C and SIGTERM end the training after a step, and leave a checkpoint',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--pictures',
        nargs='?',
        const=1,
        type=int,
        metavar='N',
        help='draw annotation, teacher and student side by side, every N epochs (1)',
    )
    add_config_options(parser)
    add_launcher_options(parser)
    group = parser.add_argument_group('adding distillation to a plain config')
    add_teacher_options(group)
    group.add_argument(
        '--distill',
        metavar='PRESET',
        help=f'what to distill: {", ".join(btkd_det.config.PRESETS)} (default: btkd)',
    )
    args = parser.parse_args()
    set_local_rank(args)
    return args


def make_config(args):
    """The config to train, from the command line; raises ConfigError."""
    adding = bool(args.teacher_config or args.teacher_checkpoint or args.distill)
    # What the preset writes would win over options that are there before it.
    options, of_teacher, of_sites = (
        split_options(args.cfg_options) if adding else (args.cfg_options, {}, {})
    )
    cfg = preflight.load_config(args.config, options)
    if args.launcher != 'none' or not cfg.get('launcher'):
        cfg.launcher = args.launcher
    if args.work_dir or not cfg.get('work_dir'):
        # A folder of its own for each preset: none overwrites the plain run's.
        suffix = f'_{args.distill or "btkd"}' if adding else ''
        cfg.work_dir = args.work_dir or str(Path('work_dirs', Path(args.config).stem + suffix))
    if adding:
        teacher = btkd_det.config.teacher_from_options(
            args.teacher_config, args.teacher_checkpoint, of_teacher
        )
        cfg = btkd_det.config.distill(cfg, teacher, args.distill or 'btkd')
        merge_options(cfg, of_sites, f'the preset {args.distill or "btkd"!r}')
        print(btkd_det.config.added_text(cfg))
    if args.amp:
        if get_device() == 'cpu':
            raise ConfigError(
                "--amp: MMEngine's mixed precision needs a GPU, and PyTorch finds none; valid: no "
                '--amp here, or bfloat16 on the CPU by --cfg-options '
                'optim_wrapper.type=btkd_det.BFloat16OptimWrapper'
            )
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    begins_from = cfg.get('load_from')
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from, notes = newest_whole(cfg)
        cfg.resume = cfg.load_from is not None
        if begins_from and not cfg.resume:
            cfg.load_from = begins_from
            notes.append(f'It begins from load_from, {begins_from}')
        if os.environ.get('RANK', '0') == '0':
            print('\n'.join(notes))
    save_atomically(cfg)
    add_hook(cfg, 'btkd_det.ExactResumeHook')
    add_hook(cfg, 'btkd_det.MissedValidationHook')
    add_hook(cfg, 'btkd_det.FiniteLossesHook')
    add_hook(cfg, 'btkd_det.RunFactsHook')
    if args.save_on_interrupt:
        add_hook(cfg, 'btkd_det.SaveOnInterruptHook')
    if cfg.model.get('distill'):
        add_hook(cfg, 'btkd_det.RightRateHook')
        average_log(cfg)
    if cfg.model.get('teacher'):
        add_hook(cfg, 'btkd_det.PlainConfigHook')
    if (cfg.model.get('teacher') or {}).get('evaluate_teacher'):
        add_hook(cfg, 'btkd_det.TeacherEvaluationHook')
    if args.pictures is not None:
        check_count(**{'--pictures': args.pictures})
        add_hook(cfg, 'btkd_det.PicturesHook', interval=args.pictures)
    return cfg


def add_hook(cfg, name, **options):
    """Add a hook of this package; where the config has it already, it gets the options."""
    hooks = cfg.get('custom_hooks') or []
    ours, scope = HOOKS.get(name), cfg.get('default_scope')
    kinds = [class_of(hook, HOOKS, scope) for hook in hooks]
    # A subclass of the user's does what ours does, in its own way.
    same = [isinstance(kind, type) and issubclass(kind, ours) for kind in kinds]
    own = list(itertools.compress(hooks, same))
    if not own:
        cfg.custom_hooks = [*hooks, dict(type=name, **options)]
    elif options:
        own[0].update(options)


def save_atomically(cfg):
    """Have MMEngine's checkpoint hook write whole files; one of another class stays."""
    hooks = cfg.get('default_hooks') or {}
    if not isinstance(hooks, dict):
        return
    saving = hooks.get('checkpoint', dict(type='CheckpointHook'))
    if builds(saving, HOOKS, 'mmengine', 'CheckpointHook', scope=cfg.get('default_scope')):
        cfg.default_hooks = {
            **hooks,
            'checkpoint': {**saving, 'type': 'btkd_det.AtomicCheckpointHook'},
        }


def has_begun(runner):
    """Whether a step of training is over."""
    return not isinstance(runner._train_loop, dict) and runner.iter > 0


@stopped_in_one_line()
@weights_only()
def main():
    args = parse_args()
    try:
        with unforeseen_explained():
            cfg = make_config(args)
            shape = check(cfg)
            cpu_processes.join(cfg)
        alone = work_dir_locked(cfg.work_dir)
        with (
            alone,
            lost_ranks_named(),
            noted(args.save_on_interrupt),
            input_shape(shape),
            bars_closed(),
        ):
            runner = train(cfg)
    except InterruptedTraining as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(128 + error.number)
    except KeyboardInterrupt:
        print('error: ended by SIGINT. Go on with --resume', file=sys.stderr)
        sys.exit(130)
    except (ConfigError, TrainingError) as error:
        sys.exit(f'error: {error}')
    if runner.rank == 0:
        conclude(runner.work_dir, f'{Path(cfg.filename or args.config).stem}.py')
    cpu_processes.leave()


def conclude(folder, config):
    """Say what there is now, and write its summary; a training is not lost for a page."""
    command = evaluate_command(folder, Path(folder, config))
    print(f'\nDone. Logs and checkpoints: {folder}\nEvaluate: {command}')
    try:
        print(f'Summary: {write_summary(folder, Path(folder, config))}')
    except Exception as error:
        print(f'warning: no summary was written: {type(error).__name__}: {error}')


def check(cfg):
    """Find all that can be wrong before anything is written.

    Args:
        cfg (Config): The whole config; bad images are left out of its training data if it says so.

    Returns:
        tuple[int, int, int] | None: (C, H, W) of the images that the model will be given.

    Raises:
        ConfigError: Something is.
    """
    preflight.check_surroundings(cfg)
    preflight.check_types(cfg)
    found = preflight.check_data(cfg, ('train_dataloader', 'val_dataloader'))
    preflight.check_collecting(cfg)
    preflight.map_classes(cfg)
    preflight.check_cache(cfg)
    shape = preflight.check_samples(cfg, found=found)
    with input_shape(shape):
        model = preflight.check_model(cfg)
    preflight.check_weights(cfg, model)
    preflight.check_training(cfg, model, found)
    check_work_dir(cfg)
    preflight.skip_bad_images(cfg)
    return shape


def train(cfg):
    """Run MMEngine's training, and return its runner; raises ConfigError."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    with unforeseen_explained():
        person = on_terminal()
        with dumps_hidden() if person else contextlib.nullcontext():
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        introduce()
        if person:
            if runner.rank == 0:
                print(f'Log, with the environment and the whole config: {log_file(runner.logger)}')
            # Not by the config, which is kept: a terminal is a matter of this run alone.
            runner.register_hook(ProgressBarHook())
    # Before the first step is over, what fails is what the config asks for.
    with unforeseen_explained(unless=lambda: has_begun(runner)):
        runner.train()
    return runner


@contextlib.contextmanager
def unforeseen_explained(unless=lambda: False):
    """Within this context, an error of a builder is a ConfigError of one line."""
    try:
        yield
    except (ConfigError, TrainingError):
        raise
    except BUILD_ERRORS as error:
        # A value that no check foresaw is wrong input all the same.
        if 'BTKD_DET_TRACEBACK' in os.environ or unless():
            raise
        raise ConfigError(preflight.unforeseen(error)) from error


if __name__ == '__main__':
    main()
