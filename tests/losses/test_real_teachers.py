"""On the outputs of real CIFAR-100 networks."""

import numpy as np
import pytest
import torch

from btkd_det.bias import is_right, rectify
from btkd_det.losses import KDLoss
from tests.shared_data import SHARED_DATA, absent

FILE = SHARED_DATA / 'cifar100_probs' / 'cifar100_test_probs.npz'


@pytest.fixture(scope='module')
def networks():
    if not FILE.is_file():
        pytest.skip(absent(f'{FILE.name}, the outputs of three networks'))
    with np.load(FILE) as stored:
        networks = {name: torch.from_numpy(stored[name]) for name in stored}
    labels = networks.pop('labels').long()
    return {name: probs.double().log() for name, probs in networks.items()}, labels


@pytest.mark.parametrize(('temperature', 'expected'), [(1.0, 1.692930), (4.0, 20.138861)])
def test_divergence_of_wrn_and_densenet(networks, temperature, expected):
    logits, labels = networks
    value = KDLoss(temperature)(logits['densenet_bc_100'], logits['wideresnet_16_4'], labels)
    assert value.item() == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(('temperature', 'expected'), [(1.0, 3.076999), (4.0, 6.040057)])
def test_divergence_of_wrn_and_lenet(networks, temperature, expected):
    logits, labels = networks
    value = KDLoss(temperature)(logits['lenet_5'], logits['wideresnet_16_4'], labels)
    assert value.item() == pytest.approx(expected, abs=5e-7)
    teacher, student = (logits[n].numpy() / temperature for n in ('wideresnet_16_4', 'lenet_5'))
    teacher, student = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (teacher, student))
    by_hand = (np.exp(teacher) * (teacher - student)).sum(1).mean() * temperature**2
    assert value.item() == pytest.approx(by_hand, rel=1e-9)


# How many of WRN's wrong rows name the label after rectification. On raw logits, blending
# reaches only rows whose label is within 1 of the choice; on probabilities, the pair of
# pair_blend can end up below a third class.
TURNED_RIGHT = {
    ('logits', 'swap'): 2457,
    ('logits', 'blend'): 616,
    ('logits', 'pair_blend'): 587,
    ('logits', 'none'): 0,
    ('probs', 'swap'): 2457,
    ('probs', 'blend'): 2457,
    ('probs', 'pair_blend'): 2372,
    ('probs', 'label_revision'): 2457,
    ('probs', 'none'): 0,
}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_how_many_wrong_rows_each_rule_turns_right(networks, dtype):
    logits, labels = networks
    teacher = logits['wideresnet_16_4'].to(dtype)
    wrong = ~is_right(teacher, labels)
    assert wrong.sum() == 2457
    found = {}
    for space, rule in TURNED_RIGHT:
        rectified = rectify(teacher, labels, rule, space)
        found[space, rule] = int((is_right(rectified, labels) & wrong).sum())
    assert found == TURNED_RIGHT
