"""Types, loaders, optimizers, hooks and folders that a training cannot start with."""

import contextlib
import os

import pytest
from mmengine import registry as root
from mmengine.config import Config
from torch import nn

from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.preflight.loaders import check_loader
from btkd_det.preflight.optimization import check_optimization
from btkd_det.preflight.parts import check_hooks, check_loops, check_phases
from btkd_det.preflight.registries import check_types, find_type
from btkd_det.preflight.surroundings import check_imports, check_launcher, check_work_dir

LOADER = dict(batch_size=2, sampler=dict(type='DefaultSampler', shuffle=True), dataset={})


def refuses(*words):
    return pytest.raises(ConfigError, match='.*'.join(words))


def test_mmdetections_own_configs_pass():
    cfg = read_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'test')
    check_types(cfg)
    check_phases(cfg)
    check_loops(cfg)
    check_hooks(cfg, nn.Linear(2, 2))
    assert check_loader(cfg.train_dataloader, 'F', 'mmdet', 100) == 50
    check_optimization(cfg, nn.Linear(2, 2), 50)


@pytest.mark.parametrize(
    ('name', 'registry', 'proposed'),
    [
        ('Resizee', root.TRANSFORMS, 'Resize'),
        ('RESIZE', root.TRANSFORMS, 'Resize'),
        ('mmdet.Resizee', root.TRANSFORMS, 'mmdet.Resize'),
        ('btkd_det.SkipBadImage', root.TRANSFORMS, 'btkd_det.SkipBadImages'),
        ('mmdett.Resize', root.TRANSFORMS, 'mmdet'),
        ('SDG', root.OPTIMIZERS, 'SGD'),
        ('CocoMetrics', root.METRICS, 'CocoMetric'),
    ],
)
def test_the_nearest_registered_name_is_proposed(name, registry, proposed):
    with refuses(r'F\.type', name, rf"did you mean '{proposed}'\?"):
        find_type(dict(type=name), registry, 'F', 'mmdet')


def test_transforms_of_albumentations_are_not_looked_up():
    foreign = dict(type='Albu', transforms=[dict(type='ShiftScaleRotate')])
    pipeline = dict(type='CocoDataset', pipeline=[foreign])
    check_types(Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=pipeline))))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(batchsize=2), [r'F: unknown key .batchsize', 'batch_size']),
        (dict(batch_size=0), [r'F\.batch_size: 0']),
        (dict(sampler=None), [r'F\.sampler: missing']),
        (dict(persistent_workers=True), ['F: cannot be built: persistent_workers']),
        (dict(sampler=dict(type='DefaultSampler', shufle=1)), [r'F\.sampler', "mean 'shuffle'"]),
        (dict(drop_last=True, batch_size=8), [r'F\.drop_last', '5 images', 'is 8', 'at most 5']),
    ],
)
def test_loaders_that_pytorch_refuses(changes, words):
    with refuses(*words):
        check_loader({**LOADER, **changes}, 'F', 'mmdet', 5)


@pytest.mark.parametrize(
    ('changes', 'batches'),
    [({}, 3), (dict(drop_last=True), 2), (dict(sampler=dict(type='ClassAwareSampler')), None)],
)
def test_batches_are_counted_where_they_can_be(changes, batches):
    assert check_loader({**LOADER, **changes}, 'F', 'mmdet', 5) == batches


def test_a_sampler_that_asks_more_of_its_data_is_left_to_the_run():
    sampler = dict(type='ClassAwareSampler', num_sample_class=1)
    check_loader({**LOADER, 'sampler': sampler}, 'F', 'mmdet', 5)
    with refuses(r'F\.sampler: unknown key', 'num_sample_class'):
        check_loader({**LOADER, 'sampler': dict(sampler, num_sample_clas=1)}, 'F', 'mmdet', 5)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lrr=1))), ['optimizer', "mean 'lr'"]),
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=-1))), ['optim_wrapper', '-1']),
        (dict(param_scheduler=dict(type='StepLR')), ['param_scheduler', 'step_size']),
        (dict(param_scheduler=[dict(type='LinearLR', start_factor=7)]), [r'scheduler\[0\]']),
        (
            dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1), clip_grad=dict(nrm=1))),
            [r'clip_grad: unknown key .nrm'],
        ),
        (
            dict(
                optim_wrapper=dict(
                    optimizer=dict(type='SGD', lr=1), clip_grad=dict(max_norm='None')
                )
            ),
            [r'optim_wrapper\.clip_grad', 'None'],
        ),
    ],
)
def test_optimizers_and_schedulers_are_built(changes, words):
    cfg = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), default_scope='mmdet')
    with refuses(*words):
        check_optimization(Config({**cfg, **changes}), nn.Linear(2, 2), 10)


@pytest.mark.parametrize(
    ('hook', 'words'),
    [
        (dict(type='EMAHook', momentum=3), [r'custom_hooks\[0\]', 'momentum']),
        (dict(type='EMAHook', priority='LATE'), [r'custom_hooks\[0\]\.priority', 'VERY_LOW']),
        (dict(type='CheckpointHook', intervall=1), ["'intervall'", "mean 'interval'"]),
        (dict(type='CheckpointHook', save_best='bbox_mAP'), ['save_best', 'coco/bbox_mAP']),
    ],
)
def test_hooks_that_would_fail_later(hook, words):
    cfg = Config(dict(custom_hooks=[hook], val_evaluator=dict(type='CocoMetric')))
    with refuses(*words):
        check_hooks(cfg, nn.Linear(2, 2))


@pytest.mark.parametrize('value', [10**9, '', [], [dict(type='ValLoop')], True])
@pytest.mark.parametrize('field', ['train_cfg', 'val_cfg'])
def test_a_loop_is_a_dict(field, value):
    with refuses(f'{field}: ', r'valid: a dict, such as dict\(type='):
        check_loops(Config({field: value}))
    check_loops(Config({field: None}))


@pytest.mark.parametrize('there', ['train_dataloader', 'optim_wrapper'])
def test_a_phase_is_there_as_a_whole(there):
    with refuses('missing; MMEngine needs train_dataloader, train_cfg, optim_wrapper together'):
        check_phases(Config({there: dict(a=1)}))
    check_phases(Config(), needed=())


def test_work_dirs_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'loop').symlink_to('loop')
    check_work_dir(tmp_path / 'a' / 'b')
    for name in ('file', 'file/run', 'loop', 'x' * 300):
        with refuses(r'work_dir'):
            check_work_dir(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ['file', 'loop']


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_launcher_without_its_environment(launcher, monkeypatch):
    for name in list(os.environ):
        if name.startswith(('RANK', 'WORLD', 'MASTER', 'SLURM', 'OMPI')):
            monkeypatch.delenv(name)
    with refuses(f'--launcher {launcher}: the environment variable', 'is not set'):
        check_launcher(launcher)
    check_launcher('none')


def test_imports_fail_where_they_may_not(said):
    check_imports(Config(dict(custom_imports=dict(imports='json'))))
    wanted = dict(imports=['json', 'no_such_module'])
    with refuses('custom_imports: no_such_module'):
        check_imports(Config(dict(custom_imports=wanted)))
    check_imports(Config(dict(custom_imports=dict(wanted, allow_failed_imports=True))))
    assert 'no_such_module does not import, as the config allows' in said[0]


@pytest.mark.parametrize('line', ['import sys; sys.exit(3)', "raise SystemExit('bye')", 'exit()'])
def test_a_config_that_exits_is_an_error(tmp_path, line):
    path = tmp_path / 'c.py'
    path.write_text(f'{line}\n')
    with contextlib.suppress(NameError), refuses(r'c\.py does not load: SystemExit: it calls exit'):
        read_config(path, 'CONFIG')
