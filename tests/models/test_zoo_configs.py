"""Configs of MMDetection's zoo whose maps, sizes or heads are unlike the others'."""

import copy

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import PixelData

from btkd_det import config, preflight
from btkd_det.config.reading import read_config
from tests.conftest import detection_batch

SSD300 = 'mmdet::ssd/ssd300_coco.py'
SSDLITE = 'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py'
MASKFORMER = 'mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py'
RTMDET_CONVNEXT = 'mmdet::rtmdet/rtmdet_l_convnext_b_4xb32-100e_coco.py'
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


def shrunk_maskformer():
    cfg = read_config(MASKFORMER, 'test')
    cfg.model.backbone.update(depth=18, base_channels=8, stem_channels=8)
    head = cfg.model.panoptic_head
    head.update(in_channels=[8, 16, 32, 64], feat_channels=32, out_channels=32, num_queries=10)
    classes = dict(num_things_classes=3, num_stuff_classes=2)
    head.update(classes)
    cfg.model.panoptic_fusion_head.update(classes)
    head.loss_cls.class_weight = [1.0] * 5 + [0.1]
    for layers in (head.pixel_decoder.encoder, head.transformer_decoder):
        layers.num_layers = 1
        for key, part in layers.layer_cfg.items():
            size = dict(feedforward_channels=32) if key == 'ffn_cfg' else dict(num_heads=2)
            part.update(embed_dims=32, **size)
    for positions in (head, head.pixel_decoder):
        positions.positional_encoding.num_feats = 16
    return cfg


def with_masks(batch):
    """The batch, each box filled by a mask and the rest by a class of stuff."""
    for sample in batch['data_samples']:
        height, width = sample.img_shape
        masks = np.zeros((len(sample.gt_instances), height, width), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, sample.gt_instances.bboxes.int(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances.masks = BitmapMasks(masks, height, width)
        stuff = torch.full((1, height, width), 4, dtype=torch.long)
        sample.gt_sem_seg = PixelData(sem_seg=stuff)
    return batch


def shrunk_rtmdet():
    cfg = read_config(RTMDET_CONVNEXT, 'test')
    cfg.model.backbone.arch = dict(depths=[1, 1, 2, 1], channels=[8, 16, 32, 64])
    assert cfg.model.backbone.with_cp
    cfg.model.neck.update(in_channels=[16, 32, 64], out_channels=64, num_csp_blocks=1)
    cfg.model.bbox_head.update(in_channels=64, feat_channels=64, num_classes=3)
    for part in (cfg.model.neck, cfg.model.bbox_head):
        part.norm_cfg = dict(type='GN', num_groups=8)
    return cfg


@pytest.mark.parametrize(
    ('make', 'preset', 'sites'),
    [
        (shrunk_maskformer, 'feature', dict(backbone=dict(type='btkd_det.CWDLoss'))),
        (shrunk_rtmdet, 'feature', {}),
        (shrunk_rtmdet, 'btkd-pkd', {}),
    ],
)
def test_masks_and_recomputed_activations_take_a_step(make, preset, sites, progress):
    if make is shrunk_rtmdet:
        pytest.importorskip('mmpretrain')
    cfg = make()
    drop_initialization(cfg.model)
    teacher = dict(config=copy.deepcopy(cfg), checkpoint='x')
    cfg = config.distill(cfg, teacher, preset)
    cfg.model.teacher = dict(config=teacher['config'])
    cfg.model.distill.update(sites)
    model = preflight.build_model(cfg).train()
    batch = detection_batch(((64, 64), (64, 64)))
    batch = with_masks(batch) if make is shrunk_maskformer else batch
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    terms = [value for key, value in losses.items() if key.startswith('distill.') and '_' in key]
    assert all(torch.isfinite(value) for value in terms)
    sum(value for key, value in losses.items() if '.loss_' in key).backward()
    for name, parameter in model.backbone.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
