"""What has a name of MMEngine's or of this package's and is the user's stays the user's."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import DATA_SAMPLERS, HOOKS, LOG_PROCESSORS, METRICS, Registry
from mmengine.runner import LogProcessor

import btkd_det
from btkd_det.config import plain_config, without_distillation
from btkd_det.config.log_options import MEAN_PATTERN, average_log
from btkd_det.config.named_types import builds, class_of
from btkd_det.errors import ConfigError
from btkd_det.evaluation.evaluators import prepare_evaluators
from btkd_det.hooks import FiniteLossesHook
from btkd_det.report.loaders import one_pass

TRAIN = Path(btkd_det.__file__).parents[1] / 'tools' / 'train.py'
SCOPE = 'btkd_own'


@pytest.fixture(scope='module')
def train():
    return runpy.run_path(str(TRAIN))


def own(name, root, base=object):
    """A class of the user's in a scope of its own."""
    registry = root.children.get(SCOPE) or Registry(root.name, parent=root, scope=SCOPE)
    kind = type(name, (base,), dict(__module__=__name__))
    registry.register_module(module=kind, force=True)
    return kind


def saving(train, given, **top):
    cfg = Config(dict(default_hooks=dict(checkpoint=given) if given else {}, **top))
    train['save_atomically'](cfg)
    return cfg.default_hooks.checkpoint.type


@pytest.mark.parametrize(
    'given',
    [
        None,
        dict(type='CheckpointHook'),
        dict(type='mmengine.CheckpointHook'),
        # Looked up there, then in MMEngine's own registry.
        dict(type='mmdet.CheckpointHook'),
        dict(type='CheckpointHook', _scope_='mmdet'),
        dict(type=CheckpointHook),
    ],
    ids=str,
)
def test_mmengines_checkpoint_hook_writes_whole_files(train, given):
    assert saving(train, given, default_scope='mmdet') == 'btkd_det.AtomicCheckpointHook'


def test_an_own_checkpoint_hook_stays(train):
    kind = own('CheckpointHook', HOOKS, CheckpointHook)
    for name in (f'{SCOPE}.CheckpointHook', 'nowhere.CheckpointHook', kind):
        assert saving(train, dict(type=name)) == name
    assert saving(train, dict(type='CheckpointHook', _scope_=SCOPE)) == 'CheckpointHook'
    assert saving(train, dict(type='CheckpointHook'), default_scope=SCOPE) == 'CheckpointHook'


def test_a_hook_registered_in_the_place_of_mmengines_stays(train, monkeypatch):
    kind = type('CheckpointHook', (CheckpointHook,), dict(__module__=__name__))
    monkeypatch.setitem(HOOKS.module_dict, 'CheckpointHook', kind)
    assert saving(train, dict(type='CheckpointHook')) == 'CheckpointHook'


def test_an_own_hook_is_not_ours(train):
    own('FiniteLossesHook', HOOKS)
    for given in (
        dict(type=f'{SCOPE}.FiniteLossesHook'),
        dict(type='FiniteLossesHook', _scope_=SCOPE),
    ):
        cfg = Config(dict(custom_hooks=[given]))
        train['add_hook'](cfg, 'btkd_det.FiniteLossesHook')
        assert cfg.custom_hooks == [given, dict(type='btkd_det.FiniteLossesHook')]


def test_ours_or_a_class_that_inherits_it_is_not_added_again(train):
    own('Mine', HOOKS, FiniteLossesHook)
    for name in ('btkd_det.FiniteLossesHook', FiniteLossesHook, f'{SCOPE}.Mine'):
        cfg = Config(dict(custom_hooks=[dict(type='EMAHook'), dict(type=name)]))
        train['add_hook'](cfg, 'btkd_det.FiniteLossesHook', patience=3)
        assert cfg.custom_hooks == [dict(type='EMAHook'), dict(type=name, patience=3)]


def test_an_own_log_processor_stays():
    kind = own('LogProcessor', LOG_PROCESSORS, LogProcessor)
    for name in (f'{SCOPE}.LogProcessor', kind):
        cfg = Config(dict(log_processor=dict(type=name)))
        average_log(cfg)
        assert cfg.log_processor == dict(type=name)
    for name in ('LogProcessor', 'mmengine.LogProcessor', LogProcessor):
        cfg = Config(dict(default_scope='mmdet', log_processor=dict(type=name)))
        average_log(cfg)
        assert cfg.log_processor.mean_pattern == MEAN_PATTERN


def test_an_own_sampler_stays():
    own('InfiniteSampler', DATA_SAMPLERS)
    given = dict(type=f'{SCOPE}.InfiniteSampler')
    assert one_pass(dict(dataset=dict(), sampler=given))['sampler'] == given
    found = one_pass(dict(dataset=dict(), sampler=dict(type='mmengine.InfiniteSampler')))
    assert found['sampler']['type'] == 'DefaultSampler'


def test_a_step_of_the_users_named_like_ours_is_not_looked_into():
    pipeline = [dict(type='mine.SkipBadImages', path='list.txt'), dict(type='LoadImageFromFile')]
    found = one_pass(dict(dataset=dict(pipeline=pipeline)))['dataset']['pipeline']
    assert found == pipeline[::-1]


@pytest.mark.parametrize('name', ['CocoMetric', 'VOCMetric', 'Accuracy'])
def test_an_own_metric_stays(name):
    own(name, METRICS)
    given = dict(type=f'{SCOPE}.{name}', iou_thrs=[0.5])
    cfg = Config(dict(model=dict(type='FasterRCNN'), test_evaluator=given))
    assert prepare_evaluators(cfg, class_count=3) == [given]


def test_only_ours_leaves_a_plain_config():
    model = dict(type='btkd_det.DistilledDetector', host='DINO', teacher={}, distill={})
    metrics = [dict(type='mine.TeacherAgreement'), dict(type='btkd_det.TeacherAgreement')]
    hook = dict(type='mine.RightRateHook')
    hooks = [hook, dict(type='btkd_det.RightRateHook')]
    saving = dict(type='mine.AtomicCheckpointHook', on_error='x')
    found = plain_config(
        Config(
            dict(
                model=model,
                val_evaluator=metrics,
                custom_hooks=hooks,
                default_hooks=dict(checkpoint=saving),
            )
        )
    )
    assert found.val_evaluator == metrics[:1]
    assert found.custom_hooks == [hook]
    assert found.default_hooks.checkpoint == saving


def test_a_teacher_of_somebody_elses_stays():
    teacher = dict(config='t.py')
    cfg = Config(dict(model=dict(type='mine.DistilledNet', teacher=teacher)))
    assert without_distillation(cfg).model.teacher == teacher
    cfg.model.type = 'btkd_det.DistilledTwoStageDetector'
    assert without_distillation(cfg).model.teacher is None


def test_what_is_not_registered_goes_by_what_is_written():
    assert class_of(dict(type='nowhere.Metric'), METRICS) is None
    assert class_of('Metric', METRICS) is None
    assert builds(dict(type='Unknown'), METRICS, 'mmengine', 'Unknown')
    assert not builds(dict(type='nowhere.Unknown'), METRICS, 'mmengine', 'Unknown')


def test_a_cache_is_of_our_classifiers_teacher(tmp_path):
    make_config = runpy.run_path(str(TRAIN.with_name('cache_teacher.py')))['make_config']
    args = SimpleNamespace(
        cfg_options=None, teacher_config=None, teacher_checkpoint=None, checkpoint=None, views=None
    )
    args.config = str(tmp_path / 'c.py')
    for scope in ('btkd_det', 'mine'):
        model = dict(type=f'{scope}.DistilledImageClassifier', backbone={})
        model['teacher'] = dict(config='t.py', checkpoint='t.pth')
        data = dict(dataset=dict(type='CustomDataset'))
        Path(args.config).write_text(f'model = {model!r}\ntrain_dataloader = {data!r}')
        if scope == 'mine':
            with pytest.raises(ConfigError, match='has no teacher to ask'):
                make_config(args)
        else:
            assert make_config(args).model.teacher.config == 't.py'
