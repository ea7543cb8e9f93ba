"""A check of a class of this package's or its hosts' does not ask it of the user's of that name."""

import pytest
from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine import registry as root
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from torch import nn

from btkd_det import preflight
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.hooks import exact_resume
from btkd_det.preflight import data, evaluators, images, parts, rehearsal, weights
from btkd_det.preflight.classes import stated_classes
from btkd_det.preflight.shape import check_shape
from btkd_det.sites import Features, Logits
from btkd_det.sites.placing import check_place
from btkd_det.teacher_cache import is_augmented

RCNN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
IKD = dict(num_classes=3, class_means=None, collect_epochs=2)
CHECKS = {
    'what CocoMetric gives': lambda name: parts._check_save_best(
        Config(dict(save_best='own/AP')),
        Config(dict(val_evaluator=dict(type=f'{name}CocoMetric'))),
        'checkpoint',
    ),
    'the file of CocoMetric': lambda name: evaluators.check_evaluator(
        Config(
            dict(
                val_evaluator=dict(type=f'{name}CocoMetric', ann_file='no.json'),
                val_dataloader=dict(dataset={}),
            )
        ),
        'val',
        [],
    ),
    'the masks of CocoMetric': lambda name: rehearsal._check_evaluators(
        Config(
            dict(val_evaluator=dict(type=f'{name}CocoMetric', metric='segm', ann_file='a.json'))
        ),
        {},
        [dict(pred_instances={})],
        {},
    ),
    'the file of Pretrained': lambda name: weights._check_pretrained(
        dict(init_cfg=dict(type=f'{name}Pretrained', checkpoint='no.pth')), 'model'
    ),
}
OURS = {
    'the end of collecting': lambda name: preflight.check_collecting(
        Config(
            dict(
                model=dict(distill=dict(logits=dict(IKD, type=f'{name}IKDLoss'))),
                train_cfg=dict(max_epochs=1),
            )
        )
    ),
    'the place of a loss': lambda name: check_place(
        dict(type=f'{name}CWDLoss'), 'logits', dict(logits=Logits, features=Features)
    ),
    'the teacher of an evaluator': lambda name: preflight.check_agreement(
        Config(
            dict(model={}, test_evaluator=[dict(type=f'{name}TeacherAgreement', teacher='no.py')])
        )
    ),
    'workers and images in memory': lambda name: data._check_workers(
        dict(num_workers=2, dataset=dict(type=f'{name}InMemoryImages', dataset={})), 'loader'
    ),
}


@pytest.mark.parametrize('case', [*CHECKS, *OURS])
def test_nothing_is_known_of_an_own_class(case):
    check = {**CHECKS, **OURS}[case]
    with pytest.raises(ConfigError):
        check('btkd_det.' if case in OURS else '')
    check('mine.')


def test_an_own_data_set_of_several_may_have_any_length(monkeypatch):
    kind = type('OwnConcat', (ConcatDataset,), {})
    other = type('OwnDataset', (), {})
    monkeypatch.setitem(root.DATASETS.module_dict, 'OwnConcat', kind)
    monkeypatch.setitem(root.DATASETS.module_dict, 'OwnDataset', other)
    inner = dict(datasets=[dict(type='CocoDataset')])
    for name in ('ConcatDataset', 'mmdet.ConcatDataset', 'OwnConcat'):
        assert data._is_joined(dict(inner, type=name), 'mmdet')
    for name in ('mine.ConcatDataset', 'OwnDataset'):
        assert not data._is_joined(dict(inner, type=name), 'mmdet')
    assert not data._is_joined(other(), 'mmdet')


def test_an_own_data_set_may_name_its_classes_otherwise(monkeypatch, tmp_path):
    datasets = pytest.importorskip('mmpretrain.datasets')
    for name in ('hen', 'cat'):
        (tmp_path / name).mkdir()
    for name, base in (
        ('OwnCustomDataset', object),
        ('FurtherCustomDataset', datasets.CustomDataset),
    ):
        kind = type(name, (base,), {})
        monkeypatch.setitem(root.DATASETS.module_dict, name, kind)
    for name in ('mmpretrain.CustomDataset', 'FurtherCustomDataset'):
        found = stated_classes(dict(type=name, data_root=str(tmp_path)), 'mmpretrain')
        assert found == ['cat', 'hen']
    given = dict(type='OwnCustomDataset', data_root=str(tmp_path))
    assert stated_classes(given, 'mmpretrain') is None


def test_an_own_transform_may_be_random():
    def config(name):
        pipeline = [dict(type='LoadImageFromFile'), dict(type=name), dict(type='PackInputs')]
        return Config(dict(train_dataloader=dict(dataset=dict(pipeline=pipeline))))

    known = ('Resize', 'mmpretrain.Resize', 'mmcv.Resize', 'torchvision/Resize')
    assert not any(is_augmented(config(name)) for name in known)
    assert is_augmented(config('mine.Resize'))


def test_bad_images_are_skipped_around_an_own_transform():
    for name, count in (('mine.SkipBadImages', 1), ('btkd_det.SkipBadImages', 0)):
        transforms = [dict(type=name, transforms=[])]
        dataset = dict(pipeline=transforms)
        images._wrap(dataset, 'pipeline')
        assert (dataset['pipeline'] != transforms) == count


def test_a_registered_model_of_a_name_like_ours_needs_no_scope(monkeypatch):
    cfg = read_config(RCNN, 'test')
    cfg.model.type = 'DistilledDetectors'
    with pytest.raises(ConfigError, match="has no scope; valid: 'btkd_det.DistilledDetector'"):
        check_shape(cfg)
    kind = type('DistilledDetectors', (nn.Module,), {})
    monkeypatch.setitem(root.MODELS.module_dict, 'DistilledDetectors', kind)
    check_shape(cfg)


def test_only_mmdetections_sizes_are_resumed():
    own = type('BatchSyncRandomResize', (nn.Module,), dict(__module__='mine'))
    theirs = BatchSyncRandomResize((32, 64))
    model = nn.ModuleDict(dict(own=own(), theirs=theirs))
    assert exact_resume._resizing(model) == [('theirs', theirs)]
