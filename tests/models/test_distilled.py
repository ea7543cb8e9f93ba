"""A training in which nothing is distilled says so, once; an evaluation does not."""

import pytest
import torch

from btkd_det.sites import placing

from ..conftest import build_detector, detection_batch

KD = dict(type='btkd_det.KDLoss')
PKD = dict(type='btkd_det.PKDLoss')


@pytest.fixture
def lines(monkeypatch):
    """What the sites write to the log."""
    written = []
    monkeypatch.setattr(placing, 'print_log', lambda line, *args, **kwargs: written.append(line))
    return written


def train(model, teacher, **keys):
    """One loss of a distilled detector, twice."""
    model.update(type='btkd_det.DistilledTwoStageDetector', teacher=teacher, **keys)
    detector = build_detector(model)
    data = detector.data_preprocessor(detection_batch(), training=True)
    with torch.no_grad():
        detector(**data, mode='predict')
        return [detector(**data, mode='loss') for _ in range(2)][0]


@pytest.mark.parametrize(
    ('keys', 'line'),
    [
        ({}, 'distill: it is empty, so nothing is distilled'),
        (dict(distill={}), 'distill: it is empty, so nothing is distilled'),
        (dict(distill=dict(fpn=[])), 'distill: nothing stands at fpn, so nothing is distilled'),
        (
            dict(distill=dict(roi_logits=dict(losses=[], stop_at=0.5))),
            'distill: nothing stands at roi_logits, so',
        ),
        (dict(distill=dict(roi_logits=KD, fpn=[])), 'distill: nothing stands at fpn; valid: a'),
        (dict(distill=dict(fpn=dict(PKD, loss_weight=0))), 'distill: every loss_weight is 0'),
        (dict(distill=dict(fpn=[PKD, dict(PKD, loss_weight=0)])), None),
    ],
)
def test_nothing_distilled_is_one_line(
    lines, keys, line, student_config, teacher_config, teacher_checkpoint
):
    train(student_config, dict(config=teacher_config, checkpoint=teacher_checkpoint), **keys)
    assert [text.partition('; valid sites')[0][: len(line or '')] for text in lines] == (
        [line] if line else []
    )


def test_without_a_teacher_too(lines, student_config):
    losses = train(student_config, None)
    assert [line.partition(',')[0] for line in lines] == ['distill: it is empty']
    assert not any(name.startswith('distill.') for name in losses)
