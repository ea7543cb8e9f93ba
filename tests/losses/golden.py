"""The values that the papers' published code gave, in ``tests/golden``; see its README."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import torch

from btkd_det.losses import (
    BTKDLoss,
    DISTLoss,
    DKDLoss,
    IKDLoss,
    KDLoss,
    NKDLoss,
    RLDLoss,
    WTTMLoss,
)

FOLDER = Path(__file__).parents[1] / 'golden'
CASES = ('c10', 'c100', 'roi81')

NUMBER = r'([\d.]+)'
NAMES = {
    rf'kd_T{NUMBER}': lambda t: KDLoss(t),
    rf'dkd_a{NUMBER}_b{NUMBER}_T{NUMBER}': lambda a, b, t: DKDLoss(a, b, t),
    rf'nkd_gamma{NUMBER}_T{NUMBER}': lambda g, t: NKDLoss(g, t),
    rf'wttm_gamma{NUMBER}_beta{NUMBER}': lambda g, b: WTTMLoss(g, b),
    rf'rld_a{NUMBER}_b{NUMBER}_T{NUMBER}_aT{NUMBER}': lambda a, b, t, at: RLDLoss(a, b, t, at),
    rf'dist_inter{NUMBER}_intra{NUMBER}_T{NUMBER}': lambda a, b, t: DISTLoss(a, b, t),
    rf'btkd_(swap|pair_blend)_T{NUMBER}_e{NUMBER}of{NUMBER}': lambda rule, t, *_: BTKDLoss(
        KDLoss(t), rectify=rule
    ),
    rf'ikd_T{NUMBER}': lambda t: IKDLoss(2, t, loss_weight=1.0),
}


@functools.cache
def arrays(file='losses'):
    with np.load(FOLDER / f'{file}.npz') as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored}


@functools.cache
def values(file='losses'):
    return json.loads((FOLDER / f'{file}.json').read_text())


def names(case):
    """The names of a case's values that are losses."""
    return [name for name in values()[case] if parse(name) is not None]


def parse(name):
    for pattern, build in NAMES.items():
        match = re.fullmatch(pattern, name)
        if match:
            return build, [g if g.isalpha() or '_' in g else float(g) for g in match.groups()]
    return None


def loss_and_arguments(name, teacher, labels):
    """The loss that a name means, ready to call, and its keyword arguments."""
    build, numbers = parse(name)
    if name.startswith('ikd'):
        loss = IKDLoss(teacher.shape[1], numbers[0], loss_weight=1.0)
        loss.update(teacher, labels)
        return loss, {}
    if name.startswith('btkd'):
        return build(*numbers), dict(progress=numbers[2] / numbers[3])
    return build(*numbers), {}
