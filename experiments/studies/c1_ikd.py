"""C1-IKD: what weight, temperature and source of its means the term of IKD needs beside KD."""

_base_ = './c1.py'

name = 'c1_ikd'
title = 'C1-IKD: the term of IKD beside its hosts, CIFAR-100, 20 classes'

cells = dict(
    _delete_=True,
    good=dict(title='good teacher'),
    early=dict(title='teacher stopped after 2 of 12 epochs', teacher=dict(stop_after=2)),
)

kd = dict(type='btkd_det.KDLoss', temperature=4.0, loss_weight=0.5)
hosts = dict(
    kd=('KD', kd),
    dkd=('DKD', dict(type='btkd_det.DKDLoss', alpha=0.5, beta=2.0, temperature=4.0)),
    nkd=('NKD', dict(type='btkd_det.NKDLoss', gamma=0.75, temperature=1.0, loss_weight=0.5)),
)
arms = dict(_delete_=True, alone=dict(title='student alone', host_weight=1.0))
for host, (heading, loss) in hosts.items():
    arms[host] = dict(title=heading, host_weight=0.5, distill=dict(logits=loss))
    for weight in (0.1, 0.5, 2.0, 6.5):
        term = dict(type='btkd_det.IKDLoss', num_classes=20, loss_weight=weight)
        arms[f'{host}-ikd-{weight:g}'] = dict(
            title=f'{heading} + {weight:g} IKD',
            host=host,
            host_weight=0.5,
            distill=dict(logits=[loss, term]),
        )
variants = {
    'only-right': ('means of right rows', dict(only_right=True)),
    'T4': ('T = 4', dict(temperature=4.0, loss_weight=0.03125)),
}
for key, (heading, options) in variants.items():
    term = dict(dict(type='btkd_det.IKDLoss', num_classes=20, loss_weight=0.5), **options)
    arms[f'kd-ikd-{key}'] = dict(
        title=f'KD + 0.5 IKD, {heading}',
        host='kd',
        host_weight=0.5,
        distill=dict(logits=[kd, term]),
    )
del kd, hosts, host, heading, loss, weight, term, variants, key, options

tuning = None
seeds = [0, 1, 2, 3, 4]
