"""Every method of the recipes on 20 classes of CIFAR-100, resnet56 to resnet20, nothing tuned."""

name = 'cifar100_20x500'
kind = 'classification'
title = 'Every method of the recipes'
metric = 'top1'
notes = (
    'These runs were made by an earlier command, `tools/study.py`, at the commits named. '
    'Its pipeline and schedule are those of this study file.'
)

data = dict(
    train=dict(type='CIFAR100', split='train'),
    test=dict(type='CIFAR100', split='test'),
    classes=20,
    # Nothing is chosen: all 500 training images of a class train.
    val_per_class=0,
    crop_padding=4,
    flip=0.5,
    views=4,
    mean=[129.304, 124.07, 112.434],
    std=[68.17, 65.392, 70.418],
    to_rgb=False,
)

schedule = dict(
    batch_size=64,
    bfloat16=True,
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4),
)

# The recipes' milestones, scaled to the length.
student = dict(
    backbone=dict(type='btkd_det.CIFARResNet', depth=20),
    in_channels=64,
    epochs=5,
    milestones=[3, 4],
)
teacher = dict(
    backbone=dict(type='btkd_det.CIFARResNet', depth=56),
    in_channels=64,
    epochs=12,
    milestones=[8, 9, 11],
    seed=0,
)
cells = dict(resnet56=dict(title='resnet56 to resnet20'))

# Cross entropy and KD share the weight, as in the code of DKD; with the others it counts fully.
kd = dict(type='btkd_det.KDLoss', temperature=4.0, loss_weight=0.9)
dkd = dict(type='btkd_det.DKDLoss', alpha=1.0, beta=8.0, temperature=4.0, warmup=20 / 240)
nkd = dict(type='btkd_det.NKDLoss', gamma=1.5, temperature=1.0)
wttm = dict(type='btkd_det.WTTMLoss', gamma=0.3, beta=1.5)
btkd = dict(type='btkd_det.BTKDLoss', loss=kd)
ikd = dict(type='btkd_det.IKDLoss', num_classes=20, temperature=1.0, loss_weight=6.5)

arms = {
    'alone': dict(title='student alone', host_weight=1.0),
    'kd': dict(title='KD', host_weight=0.1, distill=dict(logits=kd)),
    'dkd': dict(title='DKD', distill=dict(logits=dkd)),
    'nkd': dict(title='NKD', distill=dict(logits=nkd)),
    'wttm': dict(title='WTTM', distill=dict(logits=wttm)),
    'btkd-kd': dict(title='BTKD (KD)', host='kd', host_weight=0.1, distill=dict(logits=btkd)),
    'btkd-dkd': dict(
        title='BTKD (DKD)',
        host='dkd',
        distill=dict(logits=dict(type='btkd_det.BTKDLoss', loss=dkd)),
    ),
    'ikd-kd': dict(title='KD + IKD', host='kd', host_weight=0.1, distill=dict(logits=[kd, ikd])),
    'ikd-dkd': dict(title='DKD + IKD', host='dkd', distill=dict(logits=[dkd, ikd])),
    'ikd-nkd': dict(
        title='NKD + IKD',
        host='nkd',
        distill=dict(logits=[nkd, dict(ikd, loss_weight=6.0)]),
    ),
    'ikd-wttm': dict(title='WTTM + IKD', host='wttm', distill=dict(logits=[wttm, ikd])),
    'btkd-ikd': dict(
        title='BTKD (KD) + IKD', host='kd', host_weight=0.1, distill=dict(logits=[btkd, ikd])
    ),
}
del kd, dkd, nkd, wttm, btkd, ikd

references = dict(alone='alone', kd='kd')
seeds = [0, 1, 2]
