"""Write a teacher's logits of the training data, so that training need not run it.

    python tools/cache_teacher.py CONFIG [CKPT] --out FILE [--views K]
    python tools/cache_teacher.py CONFIG --teacher-config T --teacher-checkpoint C --out FILE

CONFIG is the student's: a distilled config, whose teacher is asked (CKPT in the place of its
checkpoint), or a plain one and the options that name a teacher. Its training images are taken
without augmentation, or, where they are btkd_det.InMemoryImages with views=K, in all K fixed
views. Then train with teacher=dict(cache=FILE). Interrupted, the same command goes on where it
stopped.
"""

import argparse
import sys
from pathlib import Path

import torch

import btkd_det.config
from btkd_det import preflight, teacher_cache
from btkd_det.checkpoint import weights_only
from btkd_det.config.command_line import add_config_options, add_teacher_options
from btkd_det.config.named_types import is_type
from btkd_det.config.reading import type_name
from btkd_det.errors import ConfigError
from btkd_det.interrupts import stopped_in_one_line
from btkd_det.models.probe import input_shape
from btkd_det.preflight.images import on_bad_image
from btkd_det.preflight.output import check_output
from btkd_det.preflight.unreadable import readable
from btkd_det.report.batch_bar import BatchBar
from btkd_det.report.introduction import describe_config, titled
from btkd_det.teacher.cache.unfinished import UnfinishedCache

SITES = dict(logits=dict(type='btkd_det.KDLoss'))


def parse_args():
    parser = argparse.ArgumentParser(description="Cache a teacher's logits.")
    parser.add_argument('config', help="the student's config: a file or 'mmpretrain::...'")
    parser.add_argument('checkpoint', nargs='?', help="the teacher's, if not the config's")
    parser.add_argument('--out', metavar='FILE', required=True, help='where to write the logits')
    parser.add_argument(
        '--views', type=int, metavar='K', help="fixed augmented views (default: the config's)"
    )
    add_teacher_options(parser)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', default=device, help='default: %(default)s')
    add_config_options(parser)
    return parser.parse_args()


def make_config(args):
    """The config with the teacher to ask; raises ConfigError."""
    cfg = preflight.load_config(args.config, args.cfg_options)
    if args.teacher_config or args.teacher_checkpoint:
        cfg = btkd_det.config.without_distillation(cfg)
        cfg.model.type = 'btkd_det.DistilledImageClassifier'
        checkpoint = args.teacher_checkpoint or args.checkpoint
        cfg.model.teacher = btkd_det.config.teacher_from_options(args.teacher_config, checkpoint)
    if on_bad_image(cfg) == 'skip':
        raise ConfigError(
            "CONFIG.on_bad_image: 'skip', but a cache has the logits of every image and can leave "
            "none out; valid: 'error', by --cfg-options on_bad_image=error, and data without bad "
            'images'
        )
    teacher = cfg.model.get('teacher') or {}
    ours = is_type(cfg.model, 'btkd_det', 'DistilledImageClassifier')
    if not ours or 'config' not in teacher:
        raise ConfigError(
            f'CONFIG.model: {type_name(cfg.model)} has no teacher to ask; valid is a config of a '
            'btkd_det.DistilledImageClassifier with teacher=dict(config=..., checkpoint=...), or '
            '--teacher-config and --teacher-checkpoint'
        )
    teacher.pop('cache', None)
    if args.checkpoint:
        teacher.checkpoint = args.checkpoint
    cfg.model.distill = SITES
    set_views(cfg, args.views)
    return cfg


def set_views(cfg, views):
    """Let the training data have as many fixed views as the command line asks for."""
    memory = teacher_cache.find_dataset(cfg)[1]
    if views is None:
        return
    if memory is None:
        raise ConfigError(
            f'--views: {views}, but train_dataloader.dataset is no btkd_det.InMemoryImages, which '
            'alone has fixed views; valid is a config with one, or no --views'
        )
    if memory.get('views') not in (None, views):
        raise ConfigError(f'--views: {views}, but the config says views={memory.views}')
    memory.views = views


def prepare(args):
    """Config, distilled model and header, checked before anything runs; raises ConfigError."""
    cfg = make_config(args)
    found = preflight.check_data(cfg, ('train_dataloader',))
    preflight.map_classes(cfg)
    with input_shape(preflight.check_samples(cfg, ('train_dataloader',), found)):
        model = preflight.check_model(cfg)
    header = teacher_cache.describe_data(cfg)
    taught = getattr(model.head, 'num_classes', header['num_classes'])
    if taught != header['num_classes']:
        raise ConfigError(
            f'model.head.num_classes: {taught}, but the data set has {header["num_classes"]} '
            f'classes; valid: {header["num_classes"]}'
        )
    header.update(model.teacher.provenance())
    return cfg, model.to(args.device), header


@stopped_in_one_line('What is there is kept: the same command goes on from there.')
@weights_only()
def main():
    args = parse_args()
    try:
        check_output(args.out, '--out')
        cfg, model, header = prepare(args)
        views = 1 if header['views'] is None else header['views']['views']
        shape = views, header['count'], header['num_classes']
        unfinished = UnfinishedCache(args.out, shape, header)
        logits = gather(cfg, model, shape, unfinished)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    teacher_cache.write_cache(args.out, logits, header)
    unfinished.remove()
    size = Path(args.out).stat().st_size / 2**20
    settings = '' if args.views is None else f' and views={views} in btkd_det.InMemoryImages'
    print(
        f'\n{views} view(s) of {shape[1]} images, {shape[2]} classes\n'
        f'Written: {args.out} ({size:.1f} MiB)\n'
        f'Use: teacher=dict(cache={args.out!r}){settings}'
    )


def gather(cfg, model, shape, unfinished):
    """Run the teacher over the training data that are left, with a progress bar."""
    from btkd_det.teacher.cache import gathering

    batches, total = gathering.training_batches(cfg, unfinished.done)
    teacher = cfg.model.teacher
    names = f'{describe_config(teacher.config)}, {teacher.checkpoint}'
    inner = teacher_cache.find_dataset(cfg)[0]
    dataset = type_name(inner)
    print(titled([('Teacher', names), ('Data', f'{dataset}: {shape[1]} images')]))
    if unfinished.done:
        print(f'Goes on after {unfinished.done} of {shape[0] * shape[1]} rows of an earlier run.')
    with BatchBar('batches', total) as bar:
        images = getattr(batches, 'dataset', None)
        whole = readable(batches, images, inner, 'CONFIG.train_dataloader.dataset')
        return gathering.gather(model, whole, shape, bar.update, unfinished)


if __name__ == '__main__':
    main()
