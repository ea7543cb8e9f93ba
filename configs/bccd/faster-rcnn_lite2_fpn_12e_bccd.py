"""A teacher that knows something: EfficientNet-Lite2 with ImageNet's weights."""

_base_ = './faster-rcnn_lite0_fpn_12e_bccd.py'

model = dict(
    backbone=dict(
        model_name='tf_efficientnet_lite2',
        init_cfg=dict(checkpoint='{{$EFFICIENTNET_ROOT:data/efficientnet}}/lite2.pth'),
    ),
    neck=dict(in_channels=[48, 120, 352]),
)
