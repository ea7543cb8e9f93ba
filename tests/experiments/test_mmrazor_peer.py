"""The peer does the same distillation as ours, so that the two times can be compared."""

import copy
import importlib.util
import sys

import pytest
import torch

from btkd_det.models import Teacher
from experiments.benchmarks import mmrazor_peer
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn


def test_says_where_there_is_none(monkeypatch):
    monkeypatch.delitem(sys.modules, 'btkd_det.compat.mmrazor', raising=False)
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmrazor']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'mmrazor', None)
    assert mmrazor_peer.unavailable() == 'not installed'


@pytest.mark.skipif(importlib.util.find_spec('mmrazor') is None, reason='needs mmrazor')
def test_gives_the_loss_of_our_pkd():
    assert mmrazor_peer.unavailable() is None
    student, teacher = tiny_faster_rcnn(), tiny_faster_rcnn(width=12)
    guest = Teacher(dict(model=teacher))
    ours = build_detector(
        dict(
            student,
            type='btkd_det.DistilledTwoStageDetector',
            teacher=guest,
            distill=dict(fpn=dict(type='btkd_det.PKDLoss')),
        )
    ).train()
    plain = build_detector(student)
    plain.load_state_dict(ours.state_dict(), strict=False)
    theirs = mmrazor_peer.pkd(plain, copy.deepcopy(guest.model))
    theirs.train()
    data = ours.data_preprocessor(detection_batch(), training=True)
    expected = ours(**copy.deepcopy(data), mode='loss')['distill.fpn.loss_pkd']
    found = theirs(**data, mode='loss')['distill.loss_pkd']
    torch.testing.assert_close(found, expected)
