"""How far a training is, where a runner tells it, a loop of one's own, the caller or nobody."""

import pytest
import torch

import btkd_det
from btkd_det.errors import ConfigError
from btkd_det.losses import BTKDLoss, DKDLoss
from btkd_det.progress import known_progress, training_progress
from btkd_det.sites import Logits

from .conftest import build_detector, detection_batch

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.3, 1.5, 0.2]])
TEACHER = torch.tensor([[3.0, 0.0, -1.0], [1.0, 0.5, 0.2]])
LABELS = torch.tensor([0, 1])


@pytest.fixture(autouse=True)
def _nothing_said():
    yield
    btkd_det.set_progress(None)


def test_the_error_names_the_call():
    with pytest.raises(RuntimeError, match=r'btkd_det\.set_progress\(e / E\)'):
        BTKDLoss()(LOGITS, TEACHER, LABELS)


def test_a_loop_tells_it_and_the_caller_wins():
    loss = BTKDLoss()
    for share in (0.0, 0.25, 1):
        btkd_det.set_progress(share)
        assert training_progress() == share
        assert loss(LOGITS, TEACHER, LABELS) == loss(LOGITS, TEACHER, LABELS, progress=share)
        assert loss(LOGITS, TEACHER, LABELS, progress=0.5) == BTKDLoss()(
            LOGITS, TEACHER, LABELS, progress=0.5
        )
    warm = DKDLoss(warmup=0.5)
    with btkd_det.set_progress(0.25):
        assert warm(LOGITS, TEACHER, LABELS) == warm(LOGITS, TEACHER, LABELS, progress=0.25)


def test_a_context_ends():
    btkd_det.set_progress(0.1)
    with btkd_det.set_progress(0.3):
        with btkd_det.set_progress(0.7):
            assert known_progress() == 0.7
        assert known_progress() == 0.3
    assert known_progress() == 0.1
    with pytest.raises(KeyError), btkd_det.set_progress(0.9):
        raise KeyError
    assert known_progress() == 0.1
    btkd_det.set_progress(None)
    assert known_progress() is None


def test_the_last_to_speak_wins(progress):
    assert known_progress() == 0.5
    # A loop after a training that has ended.
    btkd_det.set_progress(0.2)
    assert known_progress() == 0.2
    # The runner goes on.
    progress(0.6)
    assert known_progress() == 0.6
    with btkd_det.set_progress(0.3):
        assert known_progress() == 0.3
        progress(0.7)
        assert known_progress() == 0.7
    assert known_progress() == 0.7


@pytest.mark.parametrize('share', [-0.1, 1.1, float('nan'), 'half', True, [0.5]])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(ConfigError, match='set_progress: .*from 0 to 1'):
        btkd_det.set_progress(share)
    assert known_progress() is None


def test_sites_stop_by_it():
    site = Logits('logits', dict(losses=dict(type='KDLoss'), stop_at=0.5))
    for share, active in ((0.4, True), (0.5, False), (None, True)):
        btkd_det.set_progress(share)
        assert site.active is active


def test_a_distilled_model_learns_without_a_runner(
    student_config, teacher_config, teacher_checkpoint
):
    btkd = dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss'))
    student_config.update(
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=teacher_config, checkpoint=teacher_checkpoint),
        distill=dict(roi_logits=btkd),
    )
    model = build_detector(student_config)
    data = model.data_preprocessor(detection_batch(), training=True)
    with btkd_det.set_progress(0.5):
        losses = model(**data, mode='loss')
    assert losses['distill.roi_logits.gamma'].item() == pytest.approx(0.5)
    losses['distill.roi_logits.loss_btkd'].backward()
