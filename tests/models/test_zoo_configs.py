"""Configs of MMDetection's zoo whose maps, sizes or heads are unlike the others'."""

import copy

import pytest
import torch

from btkd_det import config, preflight
from btkd_det.config_file import read_config
from tests.conftest import detection_batch

SSD300 = 'mmdet::ssd/ssd300_coco.py'
SSDLITE = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
TRIDENT = 'mmdet::tridentnet/tridentnet_r50-caffe_1x_coco.py'


def drop_initialization(node):
    """Nothing is downloaded."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list, tuple)):
            drop_initialization(value)
    if isinstance(node, dict) and 'init_cfg' in node:
        node['init_cfg'] = None


def distilled(path, **loss):
    cfg = read_config(path, 'test')
    drop_initialization(cfg.model)
    teacher = dict(config=copy.deepcopy(cfg), checkpoint='x')
    cfg = config.distill(cfg, teacher, 'feature')
    cfg.model.teacher = dict(config=teacher['config'])
    cfg.model.distill.fpn.update(loss)
    return preflight.build_model(cfg)


def losses_of(model, side):
    batch = detection_batch(((side, side), (side, side)))
    data = model.train().data_preprocessor(batch, training=True)
    return model(**data, mode='loss')


def test_a_detector_that_takes_no_small_image_is_probed_with_a_larger_one():
    assert distilled(SSD300).distill['fpn']


def test_a_head_without_a_classification_loss_is_distilled_at_its_maps(progress):
    losses = losses_of(distilled(SSDLITE), 128)
    assert losses['distill.fpn.loss_pkd'] > 0
    assert {'loss_cls', 'loss_bbox'} < set(losses)


@pytest.mark.parametrize('gate', [None, 'foreground'])
def test_each_branch_of_tridentnet_learns_from_the_teachers_map(progress, gate, monkeypatch):
    model = distilled(TRIDENT, gate=gate)
    # TridentNet's own convolutions hold whatever was in memory until their weights are initialized.
    for parameter in model.teacher.parameters():
        parameter.data.uniform_(0, 0.01)
    seen = []

    def forward(student, teacher, gate=None):
        seen.append((student[0], teacher[0], gate))
        return student[0].mean()

    monkeypatch.setattr(model.distill['fpn'][0], 'forward', forward)
    monkeypatch.setattr(type(model.roi_head), 'loss', lambda *args, **kwargs: {})
    monkeypatch.setattr(type(model.rpn_head), 'loss_and_predict', lambda *a, **k: ({}, [None] * 6))
    losses_of(model, 64)
    ((student, teacher, found),) = seen
    assert student.shape == teacher.shape
    assert len(student) == 6
    assert torch.equal(teacher[:2], teacher[2:4])
    assert torch.equal(teacher[:2], teacher[4:])
    assert (found is None) == (gate is None)
    if found is not None:
        assert len(found[0]) == 6
