# Written by: python tools/make_recipe.py cifar100 --teacher resnet56 --student resnet20 --method
# btkd
# Protocol: the common one of CIFAR-100, as in the code of DKD (arXiv 2203.08679).
# Method: btkd, BTKD (arXiv 2412.09874) around KD (arXiv 1503.02531), made robust (ours): posterior,
# calibration, relative trust.
# Loss: 0.1 cross entropy + BTKD around 0.9 KD (T 4).
default_scope = 'mmpretrain'
custom_imports = dict(imports=['btkd_det'])
data_root = '{{$CIFAR100_ROOT:data/cifar100}}'

data_preprocessor = dict(
    type='mmpretrain.ClsDataPreprocessor',
    num_classes=100,
    mean=[129.304, 124.07, 112.434],
    std=[68.17, 65.392, 70.418],
    to_rgb=False,
)

model = dict(
    type='btkd_det.DistilledImageClassifier',
    backbone=dict(type='btkd_det.CIFARResNet', depth=20),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=100,
        in_channels=64,
        loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=0.1),
        init_cfg=dict(
            type='Kaiming',
            a=2.23606797749979,
            mode='fan_in',
            nonlinearity='leaky_relu',
            distribution='uniform',
            layer='Linear',
        ),
    ),
    teacher=dict(
        config=dict(
            default_scope='mmpretrain',
            model=dict(
                type='mmpretrain.ImageClassifier',
                backbone=dict(type='btkd_det.CIFARResNet', depth=56),
                neck=dict(type='mmpretrain.GlobalAveragePooling'),
                head=dict(
                    type='mmpretrain.LinearClsHead',
                    num_classes=100,
                    in_channels=64,
                    loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
                ),
            ),
            data_preprocessor=data_preprocessor,
        ),
        checkpoint='work_dirs/resnet56_cifar100/epoch_240.pth',
    ),
    distill=dict(
        logits=dict(
            type='btkd_det.BTKDLoss',
            loss=dict(type='btkd_det.KDLoss', temperature=4.0, loss_weight=0.9),
            rectify=dict(type='posterior', label_noise='estimated'),
            schedule='none',
            trust='relative',
            calibrate=True,
            give_back=True,
        ),
    ),
)

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CIFAR100',
        data_root=data_root,
        split='train',
        pipeline=[
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)

val_dataloader = dict(
    batch_size=250,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CIFAR100',
        data_root=data_root,
        split='test',
        pipeline=[dict(type='PackInputs')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.0005),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[150, 180, 210], gamma=0.1)]
train_cfg = dict(by_epoch=True, max_epochs=240, val_interval=1)
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
