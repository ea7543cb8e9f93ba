# Written by: python tools/make_recipe.py imagenet --teacher resnet34 --student resnet18 --method
# btkd-kd
# Protocol: that of ImageNet in the code of DKD (arXiv 2203.08679), there 0.2 at a batch of 512.
# Method: btkd-kd, BTKD (arXiv 2412.09874) around KD (arXiv 1503.02531).
# Loss: 0.5 cross entropy + BTKD around 0.5 KD (T 1).
default_scope = 'mmpretrain'
custom_imports = dict(imports=['btkd_det'])
data_root = '{{$IMAGENET_ROOT:data/imagenet}}'

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

model = dict(
    type='btkd_det.DistilledImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=1000,
        in_channels=512,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=0.5),
    ),
    teacher=dict(config='mmpretrain::resnet/resnet34_8xb32_in1k.py', checkpoint='pretrained'),
    distill=dict(
        logits=dict(
            type='btkd_det.BTKDLoss',
            loss=dict(type='btkd_det.KDLoss', temperature=1.0, loss_weight=0.5),
        ),
    ),
)

train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=224),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)

val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=256, edge='short'),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0001),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1)]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
)
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
