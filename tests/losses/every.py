"""Every logit loss in every variant that the tests hold against the same rules."""

import torch

from btkd_det.losses import (
    BinaryKDLoss,
    BTKDLoss,
    DISTLoss,
    DKDLoss,
    IKDLoss,
    KDLoss,
    NKDLoss,
    RLDLoss,
    WSLDLoss,
    WTTMLoss,
)

HOSTS = {
    'kd': KDLoss,
    'dkd': DKDLoss,
    'nkd': NKDLoss,
    'wttm': WTTMLoss,
    'rld': RLDLoss,
    'dist': DISTLoss,
    'wsld': WSLDLoss,
}


def ikd(num_classes):
    loss = IKDLoss(num_classes)
    means = torch.linspace(-3, 4, num_classes**2).reshape(num_classes, -1).sin() * 3
    loss.update(means, torch.arange(num_classes))
    return loss


BTKD = {
    'btkd': {},
    'btkd_blend': dict(rectify='blend'),
    'btkd_pair_blend': dict(rectify='pair_blend'),
    'btkd_swap_probs': dict(space='probs'),
    'btkd_blend_probs': dict(rectify='blend', space='probs'),
    'btkd_pair_blend_probs': dict(rectify='pair_blend', space='probs'),
    'btkd_label_revision': dict(rectify='label_revision', space='probs'),
    'btkd_none': dict(rectify='none', normalize='all'),
    'btkd_drop': dict(rectify='drop', schedule='none'),
    'btkd_linear': dict(schedule='linear'),
    'btkd_trust': dict(trust='measured'),
    'btkd_posterior': dict(rectify='posterior', schedule='none'),
    'btkd_missed': dict(rectify=dict(type='posterior', missed='estimated'), schedule='none'),
    'btkd_robust': dict(
        loss=dict(type='KDLoss'),
        rectify=dict(type='posterior', label_noise='estimated'),
        schedule='none',
        trust='relative',
        give_back=True,
        calibrate=True,
    ),
    'btkd_dkd': dict(loss=dict(type='DKDLoss')),
    'btkd_nkd': dict(loss=dict(type='NKDLoss')),
    'btkd_wttm': dict(loss=dict(type='WTTMLoss'), space='probs'),
    'btkd_rld': dict(loss=dict(type='RLDLoss')),
    'btkd_dist': dict(loss=dict(type='DISTLoss')),
}

#: Name to ``build(num_classes)``.
LOSSES = {
    **{name: lambda num_classes, cls=cls: cls() for name, cls in HOSTS.items()},
    **{name: lambda num_classes, cfg=cfg: BTKDLoss(**cfg) for name, cfg in BTKD.items()},
    'ikd': ikd,
}


#: Of sigmoid heads: a shift of a row changes them, and the last class is the background.
BINARY = {
    'binary': lambda num_classes: BinaryKDLoss(),
    'binary_all': lambda num_classes: BinaryKDLoss(background=False),
    'btkd_binary': lambda num_classes: BTKDLoss(dict(type='BinaryKDLoss', background=False)),
}


def call(loss, student, teacher, labels, **arguments):
    """Call any of them a third of the way through training."""
    return loss(student, teacher, labels, progress=1 / 3, **arguments)


def batch(rows, classes, seed=0, scale=3.0, wrong=None, dtype=torch.float64):
    """Random logits of student and teacher, (N, C), and labels, (N,).

    ``wrong`` asks for a teacher that is wrong on every row (True) or on none (False).
    """
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, classes, generator=generator, dtype=dtype) * scale
    labels = torch.randint(0, classes, (rows,), generator=generator)
    if wrong is not None:
        labels = (teacher.argmax(dim=1) + int(wrong)) % classes
    return student.requires_grad_(), teacher, labels
