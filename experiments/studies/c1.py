"""C1: a small classifier learns from teachers that are right, half-trained, or taught wrong.

20 classes of CIFAR-100. Where the labels are noisy, teacher and student learn the same wrong
ones, nobody validates on clean ones, and the test's are clean.
"""

name = 'c1'
kind = 'classification'
title = 'C1: CIFAR-100, 20 classes'
metric = 'top1'

data = dict(
    train=dict(type='CIFAR100', split='train'),
    test=dict(type='CIFAR100', split='test'),
    classes=20,
    # The last of each class: 9,000 images train, 1,000 validate, the official 2,000 test.
    val_per_class=50,
    crop_padding=4,
    flip=0.5,
    views=6,
    mean=[129.304, 124.07, 112.434],
    std=[68.17, 65.392, 70.418],
    to_rgb=False,
)

schedule = dict(
    batch_size=64,
    warmup=100,
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
)

student = dict(
    backbone=dict(type='btkd_det.CIFARResNet', depth=8, stem_channels=8, base_channels=8),
    in_channels=32,
    epochs=8,
)
teacher = dict(
    backbone=dict(type='btkd_det.CIFARResNet', depth=14), in_channels=64, epochs=12, seed=0
)

cells = dict(
    good=dict(title='good teacher'),
    early=dict(title='teacher stopped after 2 of 12 epochs', teacher=dict(stop_after=2)),
)
for percent in (20, 40):
    noise = dict(label_noise=percent / 100)
    cells[f'teacher-noise-{percent}'] = dict(
        title=f'teacher trained with {percent} % wrong labels', teacher=noise
    )
for percent in (20, 40):
    noise = dict(label_noise=percent / 100)
    cells[f'label-noise-{percent}'] = dict(
        title=f'{percent} % wrong labels for both', teacher=noise, student=noise
    )
del noise, percent

kd = dict(type='btkd_det.KDLoss', temperature=4.0, loss_weight=0.5)
paper = dict(type='btkd_det.BTKDLoss', loss=kd)
robust = dict(
    type='btkd_det.BTKDLoss',
    loss=kd,
    rectify=dict(type='posterior', label_noise='estimated'),
    schedule='none',
    trust='relative',
    give_back=True,
    calibrate=True,
)
arms = dict(
    alone=dict(title='student alone', host_weight=1.0),
    kd=dict(title='KD', host_weight=0.5, distill=dict(logits=kd)),
)
arms['btkd-paper'] = dict(title='BTKD as published', host_weight=0.5, distill=dict(logits=paper))
arms['btkd'] = dict(title='BTKD, robust', host_weight=0.5, distill=dict(logits=robust))

# Its parts: each left out alone, and each alone. They have no trials of their own.
blend = dict(rectify='blend', space='probs', trust='measured', calibrate=False)
plain = dict(paper, rectify='none', schedule='none')
parts = {
    'btkd-not-calibrated': ('robust, not calibrated', dict(robust, calibrate=False)),
    'btkd-not-rectified': ('robust, not rectified', dict(robust, rectify='none')),
    'btkd-no-trust': ('robust, no trust', dict(robust, trust=None, give_back=False)),
    'btkd-not-given-back': ('robust, nothing given back', dict(robust, give_back=False)),
    'btkd-fixed-noise': ('robust, noise 0.1', dict(robust, rectify='posterior')),
    'btkd-blend': ('blend, trust by difference', dict(robust, **blend)),
    'kd-calibrated': (
        'KD, calibrated',
        dict(paper, rectify='none', schedule='none', calibrate=True),
    ),
    'swap-no-schedule': ('published, no schedule', dict(paper, schedule='none')),
}
for arm, (heading, loss) in parts.items():
    whole = {'kd-calibrated': 'kd', 'swap-no-schedule': 'btkd-paper'}.get(arm, 'btkd')
    arms[arm] = dict(title=heading, part=whole, host_weight=0.5, distill=dict(logits=loss))

# The share of the weight that distillation has; the cross entropy has the rest. The student alone
# has nothing to choose.
shares = (0.3, 0.5, 0.7)
weights = dict(kd='distill.logits.loss_weight')
for arm in ('btkd-paper', 'btkd'):
    weights[arm] = 'distill.logits.loss.loss_weight'
for arm, key in weights.items():
    arms[arm]['trials'] = [{'host_weight': 1 - share, key: share} for share in shares]
tuning = dict(
    trials=len(shares),
    seeds=[100],
    cells=['good', 'teacher-noise-40', 'label-noise-40'],
)
del kd, paper, robust, blend, plain, parts, heading, loss, whole, shares, weights, arm, key

references = dict(alone='alone', kd='kd')
seeds = list(range(10))
