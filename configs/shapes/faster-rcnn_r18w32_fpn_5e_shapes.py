"""The teacher: ResNet-18 with a first stage of 32 channels, from scratch."""

_base_ = './faster-rcnn_r18w8_fpn_5e_shapes.py'

model = dict(
    backbone=dict(base_channels=32),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=64), bbox_head=dict(in_channels=64)),
)
