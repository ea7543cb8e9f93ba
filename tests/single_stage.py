"""Small single-stage detectors and what the tests do with them."""

import copy

import torch

from btkd_det.config.reading import read_config
from tests.conftest import build_detector, detection_batch

CONFIGS = {
    'RetinaNet': 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    'FCOS': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'ATSS': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'GFL': 'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
    'RTMDet': 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
}


def tiny(name):
    """A small model of a family, 3 classes."""
    model = read_config(CONFIGS[name], 'test').model
    if name == 'RTMDet':
        model.backbone.update(deepen_factor=0.167, widen_factor=0.125, init_cfg=None)
        model.neck.update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
        model.bbox_head.update(in_channels=16, feat_channels=16, num_classes=3)
        model.data_preprocessor.pop('batch_augments', None)
        return model
    model.backbone.update(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1, init_cfg=None
    )
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
    model.bbox_head.update(in_channels=32, feat_channels=32, num_classes=3, stacked_convs=1)
    return model


def distilled(student, teacher, path, distill, **kwargs):
    return dict(
        student,
        **{'type': 'btkd_det.DistilledSingleStageDetector', **kwargs},
        teacher=dict(config=copy.deepcopy(teacher), checkpoint=str(path)),
        distill=distill,
    )


def save(config, path, seed=5):
    model = build_detector(config, seed)
    torch.save(model.state_dict(), path)
    return model


def step(detector, seed=3):
    detector.train()
    data = detector.data_preprocessor(detection_batch(), training=True)
    torch.manual_seed(seed)
    losses = detector(**data, mode='loss')
    total, log = detector.parse_losses(losses)
    detector.zero_grad()
    total.backward()
    return log


def predict(detector):
    detector.eval()
    with torch.no_grad():
        return [s.pred_instances for s in detector.test_step(copy.deepcopy(detection_batch()))]


def tiny_detr():
    """A small DETR, 3 classes."""
    config = read_config('mmdet::detr/detr_r50_8xb2-150e_coco.py', 'test').model
    config.backbone.update(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1, init_cfg=None
    )
    config.neck.update(in_channels=[64], out_channels=32)
    config.num_queries = 10
    for part, count in (('encoder', 1), ('decoder', 1)):
        config[part].num_layers = count
        for name, attention in config[part].layer_cfg.items():
            if name.endswith('attn_cfg'):
                attention.embed_dims, attention.num_heads = 32, 4
        config[part].layer_cfg.ffn_cfg.update(embed_dims=32, feedforward_channels=64)
    config.positional_encoding.num_feats = 16
    config.bbox_head.update(num_classes=3, embed_dims=32)
    config.test_cfg.max_per_img = 10
    return config
