"""The student alone: ResNet-18 with a first stage of 8 channels, from scratch, 12 epochs."""

_base_ = './faster-rcnn_r18w8_fpn_20e_bccd.py'

# As EfficientNet-Lite's ImageNet weights expect the images.
model = dict(data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]))

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=max_epochs, max_keep_ckpts=1))
