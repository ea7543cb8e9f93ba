"""The teacher: ResNet-34 with a first stage of 32 channels, from scratch."""

_base_ = './faster-rcnn_r18w8_fpn_20e_bccd.py'

model = dict(
    backbone=dict(depth=34, base_channels=32),
    neck=dict(in_channels=[64, 128, 256]),
)
