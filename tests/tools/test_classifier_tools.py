"""The commands on classifiers: a preset, accuracy and agreement, a cached teacher, wrong input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from btkd_det import preflight
from btkd_det.errors import ConfigError
from btkd_det.provenance import file_digest
from btkd_det.teacher_cache import read_cache
from tests.classifiers import write_images

ROOT = Path(__file__).parents[2]
CLASSES = ('ant', 'bee', 'cat', 'dog', 'elk', 'fox')

CONFIG = """
_base_ = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
data_root = '{data}'
model = dict(
    backbone=dict(depth=18, base_channels={width}, stem_channels={width}),
    head=dict(num_classes=6, in_channels=8 * {width}, topk=(1,)),
)
data_preprocessor = dict(num_classes=6, mean=[{mean}] * 3, std=[60.0] * 3, to_rgb=True)
load = [dict(type='LoadImageFromFile')]
augment = [dict(type='RandomFlip', prob=0.5)]
pack = [dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='train',
        pipeline=load + {augment} + pack),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='val',
        pipeline=load + pack),
)
test_dataloader = val_dataloader
test_evaluator = dict(topk=(1, 5))
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""

CACHED = """
_base_ = './still.py'
custom_imports = dict(imports=['btkd_det'])
model = dict(
    type='btkd_det.DistilledImageClassifier',
    teacher=dict({teacher}),
    distill=dict(logits=dict(type='btkd_det.KDLoss')),
)
"""

VIEWS = """
_base_ = './cached.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='btkd_det.InMemoryImages',
        dataset=dict(type='CustomDataset', data_root='{data}', data_prefix='train'),
        crop_padding=4,
        flip=0.5,
        views={views},
    ),
)
model = dict(teacher=dict(cache='{folder}/views.pt'))
"""

# Importing is most of each command's time, so it is done once and every command runs in a fork:
# what MMEngine keeps in a process by a run's name, which has only seconds, is nobody else's.
COMMANDS = """
import json, os, runpy, sys, traceback
import btkd_det  # the first: it provides the operators that the others import
import mmpretrain.apis, mmpretrain.datasets, mmpretrain.engine, mmpretrain.evaluation
codes = []
for tool, *args in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        log = os.open(f'{len(codes)}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = [tool, *args]
        code = 0
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as stopped:
            code = 1 if isinstance(stopped.code, str) else stopped.code or 0
            print(stopped.code)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
json.dump(codes, open('codes.json', 'w'))
"""


def tool(name, *args):
    return [str(ROOT / 'tools' / f'{name}.py'), *map(str, args)]


@pytest.fixture(scope='module')
def workshop(tmp_path_factory):
    """Data, configs, and every command run once on them; outputs lie in ``NUMBER.log``."""
    folder = tmp_path_factory.mktemp('classifiers')
    write_images(folder / 'data' / 'train', CLASSES, per_class=4)
    write_images(folder / 'data' / 'val', CLASSES, per_class=3, seed=1)
    texts = dict(
        teacher=(12, 'augment', 100.0), student=(8, 'augment', 120.0), still=(8, '[]', 120.0)
    )
    for name, (width, augment, mean) in texts.items():
        text = CONFIG.replace('{data}', f'{folder}/data').replace('{width}', str(width))
        text = text.replace('{augment}', augment).replace('{mean}', str(mean))
        (folder / f'{name}.py').write_text(text)
    checkpoint = folder / 'teacher' / 'epoch_1.pth'
    live = f"config='{folder}/teacher.py', checkpoint='{checkpoint}'"
    (folder / 'live.py').write_text(CACHED.replace('{teacher}', live))
    cached = f"cache='{folder}/cache.pt', checkpoint='{checkpoint}'"
    (folder / 'cached.py').write_text(CACHED.replace('{teacher}', cached))
    views = VIEWS.replace('{data}', f'{folder}/data').replace('{folder}', str(folder))
    (folder / 'views.py').write_text(views.replace('{views}', '3'))
    teacher = ['--teacher-config', 'teacher.py', '--teacher-checkpoint', checkpoint]
    student = 'added/epoch_1.pth'
    run_all(
        folder,
        tool('train', 'teacher.py', '--work-dir', 'teacher'),
        tool('train', 'student.py', *teacher, '--distill', 'btkd', '--work-dir', 'added'),
        tool('test', 'added/student.py', student, '--out', 'added.json'),
        tool('test', 'student.py', student, *teacher, '--out', 'plain.json'),
        tool('test', 'student.py', student, '--out', 'alone.json'),
        tool('cache_teacher', 'live.py', '--out', 'cache.pt'),
        tool('train', 'live.py', '--work-dir', 'live'),
        tool('train', 'cached.py', '--work-dir', 'cached'),
        tool('test', 'cached.py', 'cached/epoch_1.pth'),
        tool('cache_teacher', 'views.py', *teacher, '--out', 'views.pt'),
        tool('train', 'views.py', '--work-dir', 'views'),
    )
    return folder


def run_all(folder, *commands):
    """Run commands, one after the other, and see that each ends well."""
    process = subprocess.run(
        [sys.executable, '-c', COMMANDS, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    codes = json.loads((folder / 'codes.json').read_text())
    failed = [i for i, code in enumerate(codes) if code]
    assert not failed, f'{codes[failed[0]]}\n{(folder / f"{failed[0]}.log").read_text()[-3000:]}'


def scalars(work_dir):
    """The logged training steps, in order."""
    lines = [
        json.loads(line)
        for path in work_dir.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if 'loss' in line]


def test_a_preset_is_added_to_a_config_of_mmpretrain(workshop):
    saved = (workshop / 'added' / 'student.py').read_text()
    assert 'btkd_det.DistilledImageClassifier' in saved
    assert 'temperature=4.0' in saved
    first = scalars(workshop / 'added')[0]
    assert first['distill.logits.loss_btkd'] > 0
    assert 0 <= first['distill.logits.right'] <= 1


def test_the_checkpoint_is_the_plain_students(workshop):
    plain = preflight.build_model(preflight.load_config(str(workshop / 'student.py')))
    saved = torch.load(workshop / 'added' / 'epoch_1.pth', weights_only=False)['state_dict']
    result = plain.load_state_dict(saved, strict=False)
    assert not result.missing_keys
    assert not [key for key in result.unexpected_keys if not key.startswith('distill.')]


def test_accuracy_and_agreement_are_the_same_by_both_configs(workshop):
    added, plain, alone = (
        json.loads((workshop / f'{name}.json').read_text())['metrics']
        for name in ('added', 'plain', 'alone')
    )
    assert added == plain
    assert alone == {k: v for k, v in plain.items() if k.startswith('accuracy/')}
    assert set(alone) == {'accuracy/top1', 'accuracy/top5'}
    count = 3 * len(CLASSES)
    assert added['teacher/wrong'] + added['teacher/right'] == count
    assert added['teacher/top1'] == pytest.approx(100 * added['teacher/right'] / count)
    good = added['teacher/beyond'] + added['teacher/kept']
    assert added['accuracy/top1'] == pytest.approx(100 * good / count, rel=1e-5)


def test_the_tables_are_printed(workshop):
    text = (workshop / '2.log').read_text()
    for word in ('top1', 'top5', 'teacher', '(beyond the teacher)', '(kept)', '(agreement)'):
        assert word in text
    assert 'beyond the teacher' not in (workshop / '4.log').read_text()
    assert 'cache of its training data' not in text


def test_the_cache_says_what_it_is_of(workshop):
    logits, header = read_cache(workshop / 'cache.pt')
    assert logits.shape == (1, 24, 6)
    assert (header['dataset'], header['count'], header['views']) == ('CustomDataset', 24, None)
    assert header['checkpoint_sha256'] == file_digest(workshop / 'teacher' / 'epoch_1.pth')
    assert "teacher=dict(cache='cache.pt')" in (workshop / '5.log').read_text()


def test_training_with_a_cache_is_training_with_the_teacher(workshop):
    live, cached = scalars(workshop / 'live'), scalars(workshop / 'cached')
    assert len(live) == len(cached) == 3
    for one, other in zip(live, cached, strict=True):
        for name in ('loss', 'distill.logits.loss_kd'):
            assert other[name] == pytest.approx(one[name], rel=2e-3), name
    assert live[0]['distill.logits.loss_kd'] > 0


def test_views_are_cached_each(workshop):
    logits, header = read_cache(workshop / 'views.pt')
    assert logits.shape == (3, 24, 6)
    assert header['views'] == dict(views=3, view_seed=0, crop_padding=4, flip=0.5)
    assert not torch.equal(logits[0], logits[1])
    assert scalars(workshop / 'views')[0]['distill.logits.loss_kd'] > 0


def test_a_distilled_config_with_a_cache_alone_is_tested_without_agreement(workshop):
    text = (workshop / '8.log').read_text()
    assert 'is a cache of its training data' in text
    assert 'beyond the teacher' not in text


def prepare(folder, name, **options):
    """What ``tools/train.py`` checks before it trains."""
    options = {key.replace('__', '.'): value for key, value in options.items()}
    cfg = preflight.load_config(str(folder / f'{name}.py'), options)
    preflight.check_data(cfg)
    preflight.map_classes(cfg)
    preflight.check_cache(cfg)
    return preflight.check_model(cfg)


@pytest.mark.parametrize(
    ('name', 'options', 'words'),
    [
        ('live', dict(data_root='/nowhere'), ['train_dataloader.dataset.data_root', '/nowhere']),
        (
            'live',
            dict(train_dataloader__dataset__data_prefix='no'),
            ['train_dataloader.dataset.data_prefix', 'no'],
        ),
        ('still', dict(model__head__num_classes=7), ['model.head.num_classes: 7', '6 classes']),
        (
            'live',
            dict(model__head__num_classes=7),
            ['model.teacher', '6 classes apart', 'the student 7'],
        ),
        (
            'live',
            dict(model__teacher__checkpoint='{folder}/added/epoch_1.pth'),
            ['model.teacher.checkpoint', 'does not fit'],
        ),
        ('live', dict(model__teacher__checkpoint=None), ['model.teacher.checkpoint: missing']),
        (
            'cached',
            dict(model__teacher__checkpoint='{folder}/added/epoch_1.pth'),
            ['model.teacher.cache', 'written with another checkpoint'],
        ),
        (
            'cached',
            dict(train_dataloader__dataset__data_prefix='val'),
            ['model.teacher.cache', 'the number of images', '24', '18'],
        ),
        (
            'cached',
            dict(model__teacher__cache='{folder}/views.pt'),
            ['model.teacher.cache', 'the augmented views'],
        ),
        (
            'views',
            dict(train_dataloader__dataset__view_seed=1),
            ['model.teacher.cache', 'the augmented views', "'view_seed': 1"],
        ),
        ('live', dict(model__distill__logit=dict(type='KDLoss')), ["'logit'", 'logits, features']),
    ],
)
def test_wrong_input_is_named_before_anything_is_trained(workshop, name, options, words):
    options = {
        key: value.replace('{folder}', str(workshop)) if isinstance(value, str) else value
        for key, value in options.items()
    }
    with pytest.raises(ConfigError) as caught:
        prepare(workshop, name, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_teacher_of_the_classes_in_another_order_is_mapped_by_name(workshop):
    saved = torch.load(workshop / 'teacher' / 'epoch_1.pth', weights_only=False)
    order = [5, 4, 3, 2, 1, 0]
    state = saved['state_dict']
    for part in ('weight', 'bias'):
        state[f'head.fc.{part}'] = state[f'head.fc.{part}'][order]
    meta = dict(dataset_meta=dict(classes=[CLASSES[i] for i in order]))
    torch.save(dict(meta=meta, state_dict=state), workshop / 'reversed.pth')
    model = prepare(workshop, 'live', model__teacher__checkpoint=f'{workshop}/reversed.pth')
    assert model.teacher.class_map == order
    assert model.teacher.classes == CLASSES


def test_a_cache_of_still_images_for_augmented_ones_is_warned_of(workshop, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    prepare(workshop, 'cached')
    quiet = caplog.text
    augmented = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs'),
    ]
    prepare(workshop, 'cached', train_dataloader__dataset__pipeline=augmented)
    logger.removeHandler(caplog.handler)
    assert 'sees them augmented' not in quiet
    assert 'sees them augmented' in caplog.text
