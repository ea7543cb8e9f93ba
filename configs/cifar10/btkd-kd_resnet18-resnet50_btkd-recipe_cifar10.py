# Written by: python tools/make_recipe.py cifar10 --teacher resnet50 --student resnet18 --method
# btkd-kd --protocol btkd
# Protocol: BTKD's own (arXiv 2412.09874 and its authors' code): 224 x 224 pixels, constant rate.
# Method: btkd-kd, BTKD (arXiv 2412.09874) around KD (arXiv 1503.02531).
# Loss: 0.5 cross entropy + BTKD around 0.5 KD (T 4).
# Of KD's T: their code for CIFAR has 4, the paper 5.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['btkd_det'])
data_root = '{{$CIFAR10_ROOT:data/cifar10}}'

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=False,
)

model = dict(
    type='btkd_det.DistilledImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=10,
        in_channels=512,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=0.5),
    ),
    teacher=dict(
        config=dict(
            default_scope='mmpretrain',
            model=dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type='mmpretrain.ResNet', depth=50),
                neck=dict(type='mmpretrain.GlobalAveragePooling'),
                head=dict(
                    type='mmpretrain.LinearClsHead',
                    num_classes=10,
                    in_channels=2048,
                    loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
                ),
            ),
            data_preprocessor=data_preprocessor,
        ),
        checkpoint='work_dirs/resnet50_btkd-recipe_cifar10/epoch_300.pth',
    ),
    distill=dict(
        logits=dict(
            type='btkd_det.BTKDLoss',
            loss=dict(type='btkd_det.KDLoss', temperature=4.0, loss_weight=0.5),
        ),
    ),
)

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CIFAR10',
        data_root=data_root,
        split='train',
        pipeline=[
            dict(type='ResizeEdge', scale=256, edge='short'),
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
        type='CIFAR10',
        data_root=data_root,
        split='test',
        pipeline=[
            dict(type='ResizeEdge', scale=256, edge='short'),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=0.0001))
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
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
