"""A student that knows something: EfficientNet-Lite0 with ImageNet's weights."""

_base_ = './faster-rcnn_r18w8_fpn_12e_bccd.py'

custom_imports = dict(imports=['mmpretrain.models'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        out_indices=(2, 3, 4),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{$EFFICIENTNET_ROOT:data/efficientnet}}/lite0.pth',
        ),
    ),
    neck=dict(in_channels=[40, 112, 320]),
)
