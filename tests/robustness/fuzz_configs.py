"""Mutate shipped configs at random: each gives a step of training, or one clear line.

    python -m tests.robustness.fuzz_configs [--count 500] [--seed 0]

A mutation changes one value, or one key, or one type, anywhere in the config. The configs are
shrunk first, so that a step takes part of a second, and trained on images that are drawn here.
"""

import argparse
import collections
import functools
import random
import sys
import tempfile
from pathlib import Path

import torch
from mmengine.config import Config

from .place import Place
from .trial import ROOT, Outcome, attempt, prepare

CONFIGS = (
    'shapes/faster-rcnn_r18w8_fpn_5e_shapes.py',
    'shapes/kd_faster-rcnn_r18w8-r18w32_fpn_5e_shapes.py',
    'shapes/btkd_faster-rcnn_r18w8-r18w32_fpn_5e_shapes.py',
    'bccd/faster-rcnn_r18w8_fpn_20e_bccd.py',
    'bccd/btkd-paper-fg_faster-rcnn_r18w8-r34w32_fpn_20e_bccd.py',
    'coco/faster-rcnn_r18_fpn_1x_coco.py',
)
CLASSES = ('square', 'bar')
VALUES = (None, True, 0, -1, 1, 3.5, 1e30, float('nan'), '', 'x', 'None', [], [1], [[]], {}, ())
VALUES += ({'type': 'x'}, ['x', None], (1, 2, 3), 'mmdet.ResNet', {'a': {}}, 10**9)
# Changing these is changing where a training runs or how long it takes, not what it trains.
LEFT_OUT = ('work_dir', 'num_workers', 'persistent_workers')


def shrink(path: Path, place: Place) -> Config:
    """A shipped config as one that trains on ``place`` in a few seconds.

    Args:
        path (Path): The config.
        place (Place): Where the data lie; a teacher's weights are written there.
    """
    cfg = Config.fromfile(path)
    _shrink_model(cfg.model)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg[name]
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        dataset = loader.dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        part = 'train' if name.startswith('train') else 'val'
        dataset.update(data_root=f'{place.data}/', ann_file=f'{part}.json', indices=None)
        dataset.update(data_prefix=dict(img='images/'), metainfo=dict(classes=CLASSES))
        for transform in dataset.pipeline:
            if transform.type in ('Resize', 'RandomResize'):
                transform.scale = (64, 64)
            if transform.type == 'RandomChoiceResize':
                transform.scales = [(64, 64), (96, 96)]
    for name in ('val_evaluator', 'test_evaluator'):
        cfg[name].ann_file = f'{place.data}/val.json'
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.load_from = None
    if cfg.model.get('teacher'):
        _write_teacher(cfg, place)
    return cfg


def _shrink_model(model):
    model.backbone.update(depth=18, base_channels=4, stem_channels=4, init_cfg=None)
    model.backbone.frozen_stages = -1
    stages = model.backbone.get('out_indices', (0, 1, 2, 3))
    model.neck.update(in_channels=[4 * 2**i for i in stages], out_channels=8)
    model.rpn_head.update(in_channels=8, feat_channels=8)
    model.roi_head.bbox_roi_extractor.out_channels = 8
    model.roi_head.bbox_head.update(in_channels=8, fc_out_channels=16, num_classes=2)
    model.train_cfg.rcnn.sampler.num = 16
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=50)
    model.test_cfg.rpn.update(nms_pre=100, max_per_img=50)


def _write_teacher(cfg, place):
    from mmengine.registry import MODELS

    plain = Config.fromfile(ROOT / 'configs' / CONFIGS[0])
    _shrink_model(plain.model)
    teacher = place.folder / 'teacher.py'
    plain.dump(teacher)
    with MODELS.switch_scope_and_registry('mmdet') as registry:
        model = registry.build(plain.model)
    weights = place.folder / 'teacher.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), weights)
    cfg.model.teacher = dict(config=str(teacher), checkpoint=str(weights))


def places(node, path=()) -> list[tuple]:
    """Paths of all keys and entries below a config's node."""
    found = []
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key in LEFT_OUT:
            continue
        found.append((*path, key))
        if isinstance(value, (dict, list)):
            found += places(value, (*path, key))
    return found


def misspell(word: str, rng: random.Random) -> str:
    """A word with a letter left out, doubled, changed, or in another case."""
    i = rng.randrange(len(word))
    return rng.choice(
        [
            word[:i] + word[i + 1 :],
            word[:i] + word[i] + word[i:],
            f'{word[:i]}x{word[i + 1 :]}',
            word.swapcase(),
        ]
    )


def mutate(cfg: Config, rng: random.Random) -> str:
    """Change one place of a config, in place; gives what was changed."""
    path = rng.choice(places(cfg._cfg_dict))
    node = _at(cfg._cfg_dict, path[:-1])
    key, name = path[-1], '.'.join(map(str, path))
    value = node[key]
    types = [p for p in places(cfg._cfg_dict) if p[-1] == 'type']
    kind = rng.choice(['value', 'value', 'key', 'type', 'delete'])
    if kind == 'type':
        path = rng.choice(types)
        node = _at(cfg._cfg_dict, path[:-1])
        node['type'] = misspell(str(node['type']), rng)
        return f'{".".join(map(str, path))} = {node["type"]!r}'
    if kind == 'key' and isinstance(key, str):
        new = misspell(key, rng)
        node[new] = node.pop(key)
        return f'{name} renamed {new!r}'
    if kind == 'delete':
        del node[key]
        return f'{name} deleted'
    node[key] = rng.choice([v for v in VALUES if type(v) is not type(value) or v != value])
    return f'{name} = {node[key]!r}'


def _at(node, path):
    for key in path:
        node = node[key]
    return node


@functools.cache
def _base(name: str, folder: Path) -> tuple:
    place = Place(folder)
    place.write()
    return shrink(ROOT / 'configs' / name, place), place


def run(index: int, seed: int, folder: Path, mutated: bool = True) -> tuple[str, Outcome]:
    """One mutation of one of the configs, and what came of training on it."""
    name = CONFIGS[index % len(CONFIGS)]
    base, place = _base(name, folder / Path(name).stem)
    rng = random.Random(seed * 100_003 + index)
    cfg = Config(base._cfg_dict.to_dict())
    what = mutate(cfg, rng) if mutated else 'as it is'
    path = place.folder / 'config.py'
    path.write_text(as_python(cfg))
    return f'{name}: {what}', attempt([path], place.folder)


def as_python(cfg: Config) -> str:
    """A config as Python, without the formatter: it takes a second."""
    nan = 'nan, inf = float("nan"), float("inf")\n'
    lines = []
    for key, value in cfg._cfg_dict.to_dict().items():
        if str(key).isidentifier():
            lines.append(f'{key} = {value!r}')
        else:
            lines.append(f'globals()[{key!r}] = {value!r}')
    return nan + '\n'.join(lines) + '\ndel nan, inf\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=500)
    parser.add_argument('--start', type=int, default=0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--show', action='store_true')
    args = parser.parse_args()
    prepare()
    verdicts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(args.start, args.start + args.count):
            what, outcome = run(index, args.seed, Path(folder))
            verdicts[outcome.verdict] += 1
            if args.show or outcome.verdict not in ('trained', 'refused'):
                print(f'{index} {outcome.verdict} | {what[:200]}', flush=True)
                print(f'    {outcome.seconds:.1f} s  {outcome.last[:300]}', flush=True)
    print(f'{args.count} mutations: {dict(verdicts)}')
    return int(not set(verdicts) <= {'trained', 'refused'})


if __name__ == '__main__':
    sys.exit(main())
