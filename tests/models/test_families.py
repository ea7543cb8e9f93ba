"""The distilled class and its sites follow from what a detector's class inherits."""

import copy

import pytest
import torch
from mmdet.models.detectors import FCOS, SingleStageDetector, TwoStageDetector
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import MODELS

import btkd_det
from btkd_det.errors import ConfigError
from tests.conftest import build_detector, tiny_faster_rcnn
from tests.single_stage import save, step, tiny

pytestmark = pytest.mark.usefixtures('progress')

TEACHER = dict(config='t.py', checkpoint='t.pth')
KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BINARY = dict(type='btkd_det.BinaryKDLoss')


@pytest.mark.parametrize(
    ('config', 'host', 'site'),
    [
        ('foveabox/fovea_r50_fpn_4xb4-1x_coco', 'FOVEA', 'dense_logits'),
        ('nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco', 'NASFCOS', 'dense_logits'),
        ('ddod/ddod_r50_fpn_1x_coco', 'DDOD', 'dense_logits'),
        (
            'reppoints/reppoints-moment_r50_fpn_1x_coco',
            'RepPointsDetector',
            'dense_logits',
        ),
        ('yolof/yolof_r50-c5_8xb8-1x_coco', 'YOLOF', 'dense_logits'),
        ('ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco', 'MaskScoringRCNN', 'roi_logits'),
        ('panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco', 'PanopticFPN', 'roi_logits'),
        ('grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco', 'GridRCNN', 'roi_logits'),
        ('htc/htc_r50_fpn_1x_coco', 'HybridTaskCascade', 'roi_logits'),
        ('point_rend/point-rend_r50-caffe_fpn_ms-1x_coco', 'PointRend', 'roi_logits'),
        ('scnet/scnet_r50_fpn_1x_coco', 'SCNet', 'roi_logits'),
    ],
)
def test_what_the_zoo_inherits(config, host, site):
    cfg = btkd_det.distill(f'mmdet::{config}.py', TEACHER, 'kd')
    assert cfg.model.type == 'btkd_det.DistilledDetector'
    assert cfg.model.host == host
    dense = dict(losses=dict(BINARY, focus=1.0), average='foreground')
    assert cfg.model.distill == {site: KD if site == 'roi_logits' else dense}


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (
            'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
            dict(temperature=0.5, alpha=5e-5, beta=2.5e-5, gamma=5e-5, lambda_=5e-7),
        ),
        (
            'retinanet/retinanet_r50_fpn_1x_coco',
            dict(temperature=0.5, alpha=1e-3, beta=5e-4, gamma=5e-4, lambda_=5e-6),
        ),
        (
            'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco',
            dict(temperature=0.8, alpha=1.6e-3, beta=8e-4, gamma=8e-4, lambda_=8e-6),
        ),
    ],
)
def test_the_weights_of_fgd_are_those_of_its_detectors(config, expected):
    sites = btkd_det.distill(f'mmdet::{config}.py', TEACHER, 'fgd').model.distill
    levels = dict(levels=(0, 1, 2, 3)) if 'faster' in config else {}
    assert sites == dict(fpn=dict(type='btkd_det.FGDLoss', **expected, **levels))


def test_a_preset_without_published_weights_is_not_guessed():
    with pytest.raises(ConfigError, match="'fbkd' has no site in RetinaNet; valid for it: kd,"):
        btkd_det.distill('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', TEACHER, 'fbkd')


@pytest.fixture
def registered():
    """Register a class for the time of a test."""
    done = []

    def register(cls, registry=MODELS):
        registry.register_module(module=cls, force=True)
        done.append((registry, cls.__name__))
        return cls

    yield register
    for registry, name in done:
        del registry.module_dict[name]


def more(host):
    """A detector of somebody's own that has one more loss than its host."""

    def loss(self, inputs, data_samples):
        losses = host.loss(self, inputs, data_samples)
        return dict(losses, loss_own=inputs.mean() * 0 + 1)

    return type('Own', (host,), dict(loss=loss))


@pytest.mark.parametrize(
    ('host', 'plain', 'site', 'entry'),
    [
        (TwoStageDetector, tiny_faster_rcnn, 'roi_logits', 'loss_kd'),
        (SingleStageDetector, lambda: tiny('RetinaNet'), 'dense_logits', 'loss_binary_kd'),
        (FCOS, lambda: tiny('FCOS'), 'dense_logits', 'loss_binary_kd'),
    ],
)
@pytest.mark.parametrize('registry', [MODELS, MMDET_MODELS], ids=['mmengine', 'mmdet'])
def test_a_detector_from_outside(host, plain, site, entry, registry, registered, tmp_path):
    registered(more(host), registry)
    config = Config(dict(model=dict(plain(), type='Own')))
    save(plain(), tmp_path / 'teacher.pth')
    expected = step(build_detector(config.model))
    teacher = dict(config=copy.deepcopy(plain()), checkpoint=str(tmp_path / 'teacher.pth'))
    cfg = btkd_det.distill(config, teacher, 'kd')
    model = build_detector(cfg.model)
    assert isinstance(model, MODELS.get('Own') or MMDET_MODELS.get('Own'))
    found = step(model)
    assert found[f'distill.{site}.{entry}'] > 0
    assert found['loss_own'] == 1
    off = build_detector(dict(cfg.model, distill={}, teacher=None))
    assert dict(step(off)) == expected
    if host is FCOS:
        fgd = btkd_det.distill(config, teacher, 'fgd').model.distill.fpn
        assert fgd.temperature == 0.8


def test_a_head_of_the_family_that_cannot_be_read_is_named_when_it_is_built(tmp_path):
    config = tiny('RetinaNet')
    config.bbox_head.type = 'FreeAnchorRetinaHead'
    save(config, tmp_path / 'teacher.pth')
    teacher = dict(config=copy.deepcopy(config), checkpoint=str(tmp_path / 'teacher.pth'))
    cfg = btkd_det.distill(Config(dict(model=config)), teacher, 'kd')
    with pytest.raises(ConfigError, match=r'FreeAnchorRetinaHead .*site fpn alone \(--distill'):
        build_detector(cfg.model)


@pytest.mark.parametrize('preset', ['fgd', 'mgd', 'fbkd'])
@pytest.mark.parametrize('name', ['RetinaNet', 'faster'])
def test_the_published_feature_losses_take_a_step(preset, name, tmp_path):
    plain = tiny_faster_rcnn() if name == 'faster' else tiny(name)
    save(plain, tmp_path / 'teacher.pth')
    teacher = dict(config=copy.deepcopy(plain), checkpoint=str(tmp_path / 'teacher.pth'))
    if (preset, name) == ('fbkd', 'RetinaNet'):
        cfg = btkd_det.distill(Config(dict(model=plain)), teacher, 'feature')
        cfg.model.distill = dict(fpn=dict(type='btkd_det.FBKDLoss'))
    else:
        cfg = btkd_det.distill(Config(dict(model=plain)), teacher, preset)
    model = build_detector(cfg.model)
    log = step(model)
    names = [entry for entry in log if entry.startswith('distill.fpn.loss')]
    assert len(names) == (3 if (preset, name) == ('fbkd', 'faster') else 1)
    assert all(log[entry] > 0 and log[entry] < float('inf') for entry in names)
    # Where the path ends: the student's own maps, which the distillation alone reaches here.
    learned = dict(model.distill.named_parameters())
    assert learned
    assert all(torch.isfinite(parameter.grad).all() for parameter in learned.values())
