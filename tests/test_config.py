"""Distillation added to plain configs: the right class, sites and imports, or a clear no."""

import copy

import pytest
import torch
from mmengine.config import Config

import btkd_det
from btkd_det.config import PRESETS, without_distillation
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.models import DistilledTwoStageDetector
from tests.conftest import build_detector, tiny_faster_rcnn

TEACHER = dict(config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', checkpoint='t.pth')


@pytest.mark.parametrize(
    ('name', 'expected', 'host'),
    [
        ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', 'DistilledTwoStageDetector', None),
        ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco', 'DistilledTwoStageDetector', None),
        ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco', 'DistilledTwoStageDetector', None),
        ('retinanet/retinanet_r50_fpn_1x_coco', 'DistilledSingleStageDetector', None),
        ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', 'DistilledSingleStageDetector', None),
        ('atss/atss_r50_fpn_1x_coco', 'DistilledSingleStageDetector', None),
        ('gfl/gfl_r50_fpn_1x_coco', 'DistilledSingleStageDetector', None),
        ('rtmdet/rtmdet_s_8xb32-300e_coco', 'DistilledSingleStageDetector', None),
        ('dino/dino-4scale_r50_8xb2-12e_coco', 'DistilledDetector', 'DINO'),
    ],
)
def test_the_class_follows_from_the_models_type(name, expected, host):
    cfg = btkd_det.distill(f'mmdet::{name}.py', TEACHER, 'feature')
    assert cfg.model.type == f'btkd_det.{expected}'
    assert cfg.model.get('host') == host
    assert cfg.model.distill == dict(fpn=dict(type='btkd_det.PKDLoss', loss_weight=6.0))
    assert cfg.model.teacher == TEACHER
    assert 'btkd_det' in cfg.custom_imports['imports']


SOFTMAX = ('ssd/ssd300_coco', 'pisa/ssd300_pisa_coco', 'yolact/yolact_r50_1xb8-55e_coco')
SIGMOIDS = (
    'retinanet/retinanet_r50_fpn_1x_coco',
    'yolox/yolox_s_8xb8-300e_coco',
    'rtmdet/rtmdet_tiny_8xb32-300e_coco',
    'centernet/centernet_r18_8xb16-crop512-140e_coco',
)


def loss_at_anchors(preset, plain):
    """The innermost loss that a preset puts at the anchors of a plain config."""
    loss = btkd_det.distill(plain, TEACHER, preset).model.distill.dense_logits
    loss = loss.get('losses', loss)
    return loss.get('loss', loss).type


@pytest.mark.parametrize('preset', ['kd', 'btkd', 'btkd-paper', 'btkd-pkd'])
def test_where_the_head_has_a_softmax_the_preset_has_one_too(preset):
    for name in SOFTMAX:
        assert loss_at_anchors(preset, f'mmdet::{name}.py') == 'btkd_det.KDLoss', name
    for name in SIGMOIDS:
        assert loss_at_anchors(preset, f'mmdet::{name}.py') == 'btkd_det.BinaryKDLoss', name
    cfg = read_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'test')
    cfg.model.bbox_head.loss_cls = dict(type='CrossEntropyLoss', loss_weight=1.0)
    assert loss_at_anchors(preset, cfg) == 'btkd_det.KDLoss'


@pytest.mark.parametrize('preset', list(PRESETS))
def test_every_preset_builds_a_faster_rcnn(preset, teacher_config, teacher_checkpoint):
    from mmengine.config import Config

    plain = Config(dict(model=tiny_faster_rcnn()))
    before = copy.deepcopy(plain.to_dict())
    teacher = dict(config=teacher_config, checkpoint=teacher_checkpoint)
    cfg = btkd_det.distill(plain, teacher, preset)
    assert plain.to_dict() == before
    model = build_detector(cfg.model)
    assert isinstance(model, DistilledTwoStageDetector)
    assert set(model.distill) == set(cfg.model.distill)


def test_it_is_taken_out_again_for_evaluation():
    plain = read_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'test')
    cfg = without_distillation(btkd_det.distill(plain, TEACHER))
    cfg.model.backbone.init_cfg = None
    model = build_detector(cfg.model)
    assert model.teacher is None
    expected = build_detector(dict(plain.model, backbone=cfg.model.backbone))
    assert list(model.state_dict()) == list(expected.state_dict())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in expected.state_dict().items())


@pytest.mark.parametrize('distill', [{}, dict(distill=None), dict(distill={})])
def test_nor_is_a_teacher_kept_that_nothing_is_learned_from(distill):
    model = dict(type='btkd_det.DistilledImageClassifier', teacher=dict(config='t.py'), **distill)
    cfg = Config(dict(model=model))
    left = without_distillation(cfg).model
    assert left.get('teacher') is None
    assert left.get('distill') is None
    assert cfg.model.teacher


def test_a_teacher_of_somebody_elses_model_stays():
    model = dict(type='mmrazor.SingleTeacherDistill', teacher=dict(cfg_path='t.py'))
    assert without_distillation(Config(dict(model=model))).model == model


@pytest.mark.parametrize(
    ('cfg', 'preset', 'words'),
    [
        ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', 'btk', ["'btk'", "'btkd'", 'btkd-pkd']),
        ('retinanet/retinanet_r50_fpn_1x_coco', 'ikd', ["'ikd'", 'RetinaNet', 'kd, btkd']),
        ('dino/dino-4scale_r50_8xb2-12e_coco', 'ikd', ["'ikd'", 'DINO', 'kd, btkd', 'feature']),
    ],
)
def test_a_preset_that_does_not_go_is_named_with_those_that_do(cfg, preset, words):
    with pytest.raises(ConfigError) as caught:
        btkd_det.distill(f'mmdet::{cfg}.py', TEACHER, preset)
    for word in words:
        assert word in str(caught.value)


def test_what_is_distilled_already_or_no_detector_is_named():
    cfg = btkd_det.distill('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', TEACHER)
    with pytest.raises(ConfigError, match='distilled already'):
        btkd_det.distill(cfg, TEACHER)
    cfg.model.type = 'TimmClassifier'
    with pytest.raises(ConfigError, match=r'TimmClassifier has no distilled class.*FasterRCNN'):
        btkd_det.distill(cfg, TEACHER)


CLASSIFIER = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
CLS_KD = dict(type='btkd_det.KDLoss', temperature=4.0)
ROBUST = dict(
    rectify=dict(type='posterior', label_noise='estimated'),
    schedule='none',
    trust='relative',
    calibrate=True,
)


@pytest.mark.parametrize(
    ('preset', 'sites'),
    [
        ('kd', dict(logits=CLS_KD)),
        ('btkd', dict(logits=dict(type='btkd_det.BTKDLoss', loss=CLS_KD, **ROBUST))),
        ('btkd-paper', dict(logits=dict(type='btkd_det.BTKDLoss', loss=CLS_KD))),
        (
            'btkd-dkd',
            dict(
                logits=dict(
                    type='btkd_det.BTKDLoss',
                    loss=dict(
                        type='btkd_det.DKDLoss', alpha=1.0, beta=8.0, temperature=4.0, warmup=1 / 12
                    ),
                    **ROBUST,
                )
            ),
        ),
        (
            'ikd',
            dict(
                logits=[
                    CLS_KD,
                    dict(type='btkd_det.IKDLoss', num_classes=10, temperature=1.0, loss_weight=2.0),
                ]
            ),
        ),
        ('feature', dict(features=dict(type='btkd_det.ReviewKDLoss'))),
    ],
)
def test_presets_of_a_classifier_have_the_papers_settings(preset, sites):
    from tests.classifiers import build_classifier, tiny_resnet

    cfg = btkd_det.distill(CLASSIFIER, TEACHER, preset)
    assert cfg.model.type == 'btkd_det.DistilledImageClassifier'
    assert cfg.model.distill == sites
    assert cfg.model.teacher == TEACHER
    assert 'btkd_det' in cfg.custom_imports['imports']
    cfg.model.teacher = dict(config=tiny_resnet(num_classes=10))
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.head.in_channels = 64
    losses = build_classifier(cfg.model).distill
    assert list(losses) == list(sites)


@pytest.mark.parametrize('preset', ['btkd', 'btkd-paper'])
def test_the_robust_preset_of_a_two_stage_detector_puts_classes_of_objects_right(preset):
    plain = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
    cfg = btkd_det.distill(plain, dict(config=plain, checkpoint=None), preset)
    loss = dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss', temperature=1.0))
    if preset == 'btkd':
        loss.update(ROBUST, judge='object')
    assert cfg.model.distill == dict(roi_logits=loss)


def test_a_preset_of_detectors_alone_is_named_with_those_that_go():
    with pytest.raises(ConfigError, match=r"'btkd-pkd'.*ImageClassifier; valid for it: kd, btkd,"):
        btkd_det.distill(CLASSIFIER, TEACHER, 'btkd-pkd')


@pytest.mark.parametrize(
    ('cfg', 'teacher', 'words'),
    [
        (3, TEACHER, ['cfg: int', 'a Config, a dict, or a file']),
        (dict(model=dict()), TEACHER, ['cfg.model: missing']),
        (dict(data_root='x'), TEACHER, ['cfg.model: missing']),
        ('nowhere.py', TEACHER, ['cfg: no file nowhere.py']),
        (CLASSIFIER, None, ['teacher: None', 'checkpoint']),
        (CLASSIFIER, 'teacher.py', ["teacher: 'teacher.py'", 'dict(config=']),
    ],
)
def test_what_is_no_config_or_no_teacher_is_named(cfg, teacher, words):
    with pytest.raises(ConfigError) as caught:
        btkd_det.distill(cfg, teacher)
    for word in words:
        assert word in str(caught.value)


def test_a_preset_that_needs_the_classes_asks_for_their_number():
    cfg = read_config(CLASSIFIER, 'test')
    del cfg.model.head['num_classes']
    # Where the head states none, the data's names tell it.
    assert btkd_det.distill(cfg, TEACHER, 'ikd').model.distill.logits[1].num_classes == 10
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg.pop(loader)
    with pytest.raises(ConfigError, match="preset: 'ikd' needs the number of classes"):
        btkd_det.distill(cfg, TEACHER, 'ikd')


@pytest.mark.parametrize(
    ('given', 'names'),
    [
        (None, ['btkd_det']),
        (dict(imports='os'), ['os', 'btkd_det']),
        (dict(imports=['os', 'btkd_det']), ['os', 'btkd_det']),
    ],
)
def test_the_config_imports_the_package_beside_its_own(given, names):
    cfg = read_config(CLASSIFIER, 'test')
    cfg.custom_imports = given
    assert list(btkd_det.distill(cfg, TEACHER).custom_imports['imports']) == names


def test_a_config_in_the_new_style_is_distilled(student_config, teacher_config):
    """There a type is a class, not its name."""
    from mmdet.models import FasterRCNN

    plain = dict(model=dict(student_config, type=FasterRCNN))
    cfg = btkd_det.distill(plain, dict(config=dict(teacher_config), checkpoint=None), 'ikd')
    assert cfg.model.type == 'btkd_det.DistilledTwoStageDetector'
    assert cfg.model.distill.roi_logits[1].num_classes == 4
    assert plain['model']['type'] is FasterRCNN
    model = build_detector(cfg.model)
    assert isinstance(model, DistilledTwoStageDetector)


def test_classes_in_another_order_are_mapped_where_the_files_are_there(tmp_path, teacher_config):
    checkpoint = tmp_path / 'teacher.pth'
    meta = dict(dataset_meta=dict(classes=('hen', 'dog', 'cat')))
    torch.save(dict(meta=meta, state_dict=build_detector(teacher_config).state_dict()), checkpoint)
    classes = dict(classes=('cat', 'dog', 'hen'))
    data = dict(dataset=dict(type='CocoDataset', ann_file='train.json', metainfo=classes))
    plain = dict(model=tiny_faster_rcnn(), train_dataloader=data, default_scope='mmdet')
    teacher = dict(config=dict(teacher_config), checkpoint=str(checkpoint))
    assert btkd_det.distill(plain, teacher).model.teacher.class_map == [2, 1, 0]
    gone = dict(teacher, checkpoint=str(tmp_path / 'later.pth'))
    assert 'class_map' not in btkd_det.distill(plain, gone).model.teacher
