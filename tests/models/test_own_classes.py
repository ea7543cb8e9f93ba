"""A class of the user's own stays in what is distilled, whatever its name."""

import copy

import pytest
import torch
from mmdet.models.dense_heads import RetinaHead, SSDHead
from mmdet.models.detectors import FasterRCNN, RetinaNet, RTMDet, SingleStageDetector
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import MODELS, Registry, init_default_scope

import btkd_det
from btkd_det.config import ANY, distilled_type, make_distilled, plain_config
from btkd_det.config.distilled_types import plain_type
from btkd_det.errors import ConfigError
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.single_stage import tiny

pytestmark = pytest.mark.usefixtures('progress')

TEACHER = dict(config='t.py', checkpoint='t.pth')
MINE = Registry('model', parent=MODELS, scope='btkd_tests')
BINARY = dict(type='btkd_det.BinaryKDLoss', focus=1.0)
KD = dict(type='btkd_det.KDLoss', temperature=1.0)


@pytest.fixture(autouse=True)
def _own_registrations():
    """What a test registers is gone after it."""
    before = {registry: dict(registry.module_dict) for registry in (MINE, MMDET_MODELS)}
    yield
    for registry, classes in before.items():
        registry._module_dict.clear()
        registry._module_dict.update(classes)


def own(host, name=None, registry=MINE):
    """A class of the user's, by default of its host's name, with one more loss."""

    def loss(self, inputs, samples):
        return {**super(kind, self).loss(inputs, samples), 'loss_own': inputs.mean() * 0 + 1}

    kind = type(name or host.__name__, (host,), dict(loss=loss, __module__=__name__))
    registry.register_module(module=kind, force=True)
    return kind


def losses(model):
    model.train()
    return model(**model.data_preprocessor(detection_batch(), training=True), mode='loss')


def named(model, **top):
    return Config(dict(model=copy.deepcopy(model), **dict(dict(default_scope='mmdet'), **top)))


@pytest.mark.parametrize('way', ['scope', 'class', '_scope_', 'default scope'])
def test_a_detector_of_a_known_name_keeps_its_own_loss(way, teacher_config, teacher_checkpoint):
    kind, model, top = own(FasterRCNN), tiny_faster_rcnn(), {}
    model.type = {'scope': 'btkd_tests.FasterRCNN', 'class': kind}.get(way, 'FasterRCNN')
    if way == '_scope_':
        # MMEngine looks up what stands below in that scope, too.
        model = dict(model, _scope_='btkd_tests')
    if way == 'default scope':
        model.pop('_scope_')
        top = dict(default_scope='btkd_tests')
    teacher = dict(config=teacher_config.to_dict(), checkpoint=teacher_checkpoint)
    cfg = btkd_det.distill(named(model, **top), teacher, 'kd')
    assert (cfg.model.type, cfg.model.host) == (ANY, 'btkd_tests.FasterRCNN')
    assert cfg.model.distill == dict(roi_logits=KD)
    assert plain_config(cfg).model.type == 'btkd_tests.FasterRCNN'
    cfg.model.pop('_scope_', None)
    model = build_detector(cfg.model)
    assert isinstance(model, kind)
    assert {'loss_own', 'distill.roi_logits.loss_kd'} <= losses(model).keys()


def test_a_class_registered_in_the_place_of_mmdetections_stays():
    kind = own(RetinaNet, registry=MMDET_MODELS)
    cfg = btkd_det.distill(named(tiny('RetinaNet')), TEACHER, 'kd')
    assert (cfg.model.type, cfg.model.host) == (ANY, 'RetinaNet')
    assert cfg.model.distill == dict(dense_logits=dict(losses=BINARY, average='foreground'))
    assert isinstance(build_detector(dict(cfg.model, teacher=None, distill=None)), kind)


@pytest.mark.parametrize('kind', ['mmdet.RetinaNet', 'RetinaNet', RetinaNet])
def test_mmdetections_own_class_has_its_familys(kind):
    own(RetinaNet)
    assert distilled_type(dict(type=kind)) == 'btkd_det.DistilledSingleStageDetector'
    model = dict(type=kind, _scope_='mmdet')
    assert distilled_type(model, scope='btkd_tests') == 'btkd_det.DistilledSingleStageDetector'


def test_a_scope_that_is_named_wins_over_the_default_scope(teacher_config):
    own(RetinaNet, 'DINO')
    cfg = named(dict(type='mmdet.DINO'), default_scope='btkd_tests')
    make_distilled(cfg, ANY, TEACHER, {})
    assert cfg.model.host == 'mmdet.DINO'


def test_presets_go_by_what_a_class_inherits_and_not_by_its_name():
    own(SingleStageDetector, 'DETR')
    cfg = btkd_det.distill(named(dict(tiny('RetinaNet'), type='btkd_tests.DETR')), TEACHER, 'kd')
    assert list(cfg.model.distill) == ['dense_logits']
    own(SSDHead, 'MyHead')
    own(RetinaHead, 'SSDHead')
    for head, loss in (('MyHead', KD), ('SSDHead', BINARY)):
        model = tiny('RetinaNet')
        model.bbox_head.type = f'btkd_tests.{head}'
        found = btkd_det.distill(named(model), TEACHER, 'kd').model.distill.dense_logits
        assert found.get('losses', found) == loss


def test_an_own_rtmdet_is_not_mmdetections():
    own(RTMDet)
    model = dict(tiny('RTMDet'), type='btkd_tests.RTMDet', use_syncbn=False)
    cfg = btkd_det.distill(named(model), TEACHER, 'kd')
    assert cfg.model.host == 'btkd_tests.RTMDet'
    assert plain_type(cfg.model) == 'btkd_tests.RTMDet'
    assert plain_type(dict(type='btkd_tests.DistilledDetector', host='DINO')) is None
    unknown = type('DistilledDetector', (), dict(__module__='mine'))
    assert plain_type(dict(type=unknown, host='DINO')) is None


def test_a_class_without_a_name_to_be_found_by_is_refused():
    local = type('FasterRCNN', (FasterRCNN,), dict(__module__='nowhere'))
    with pytest.raises(ConfigError, match='FasterRCNN has no name to be found by'):
        distilled_type(dict(type=local))


def test_an_own_classifier_is_refused_or_inherited_by_hand():
    models = pytest.importorskip('mmpretrain.models')
    from mmpretrain.structures import DataSample

    from btkd_det.models.classifier import DistilledImageClassifier

    model = dict(
        backbone=dict(type='ResNet', depth=18),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=512),
    )
    kind = own(models.ImageClassifier)
    own(models.ImageClassifier, 'MyClassifier')
    for name in ('btkd_tests.ImageClassifier', kind, 'btkd_tests.MyClassifier'):
        cfg = named(dict(model, type=name), default_scope='mmpretrain')
        with pytest.raises(ConfigError, match="is no class of MMPretrain's, and .* would leave"):
            btkd_det.distill(cfg, TEACHER, 'kd')
    for name in ('ImageClassifier', 'mmpretrain.ImageClassifier', models.ImageClassifier):
        cfg = named(dict(model, type=name), default_scope='mmpretrain')
        assert btkd_det.distill(cfg, TEACHER).model.type == 'btkd_det.DistilledImageClassifier'
    both = type('Both', (DistilledImageClassifier, kind), dict(__module__=__name__))
    init_default_scope('mmpretrain')
    samples = [DataSample().set_gt_label(i) for i in range(2)]
    assert 'loss_own' in both(**model).loss(torch.rand(2, 3, 32, 32), samples)
