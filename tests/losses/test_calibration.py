import pytest
import torch
from torch.nn import functional as F

from btkd_det.losses import BTKDLoss
from btkd_det.losses.calibration import LARGEST_SCALE, TeacherCalibration


def labels_of(logits, generator):
    """Labels drawn from the softmax of logits, (N,)."""
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)


def fitted(scale, steps=400, rows=64, strength=0.1):
    """The factor found for a teacher whose logits are the true ones divided by ``scale``."""
    generator = torch.Generator().manual_seed(0)
    calibration = TeacherCalibration(strength)
    for _ in range(steps):
        truth = 3 * torch.randn(rows, 10, generator=generator)
        calibration(truth / scale, labels_of(truth, generator))
    return calibration.log_scale.exp().item()


@pytest.mark.parametrize('scale', [0.5, 1.0, 2.0])
def test_it_finds_the_factor_that_the_labels_were_drawn_with(scale):
    assert fitted(scale, strength=1e-3) == pytest.approx(scale, rel=0.15)


def test_it_is_the_minimum_of_the_penalized_likelihood():
    generator = torch.Generator().manual_seed(1)
    truth = 3 * torch.randn(256, 5, generator=generator)
    teacher, labels = truth / 3, labels_of(truth, generator)
    calibration = TeacherCalibration()
    for _ in range(300):
        calibration(teacher, labels)
    at = lambda s: F.cross_entropy(teacher * s.exp(), labels) + 0.05 * s * s
    found = calibration.log_scale
    assert at(found) < at(found + 0.02)
    assert at(found) < at(found - 0.02)


def test_a_teacher_that_is_always_right_keeps_its_doubts():
    generator = torch.Generator().manual_seed(0)
    calibration = TeacherCalibration()
    for _ in range(500):
        labels = torch.randint(0, 10, (64,), generator=generator)
        calibration(8.0 * F.one_hot(labels, 10) + torch.randn(64, 10, generator=generator), labels)
    assert 1 <= calibration.log_scale.exp() < 1.2


def test_the_factor_is_bounded_and_rows_that_do_not_count_do_not_move_it():
    calibration = TeacherCalibration(strength=0.0)
    labels = torch.arange(8) % 4
    for _ in range(200):
        calibration(0.01 * F.one_hot(labels, 4).float(), labels)
    assert calibration.log_scale.exp().item() == pytest.approx(LARGEST_SCALE)
    calibration = TeacherCalibration()
    counted = torch.zeros(8, dtype=torch.bool)
    calibration(torch.randn(8, 4), labels, counted)
    assert calibration.log_scale == 0
    assert calibration.steps == 0


def test_evaluation_moves_nothing_and_no_rows_are_no_step():
    calibration = TeacherCalibration()
    calibration(torch.randn(0, 4), torch.zeros(0, dtype=torch.long))
    assert calibration.steps == 0
    calibration.eval()(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    assert calibration.log_scale == 0


def test_no_rows_leave_the_scale_where_it_is():
    calibration = TeacherCalibration()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 4, generator=generator)
    for _ in range(20):
        calibration(logits, logits.argmax(dim=1))
    found = calibration.log_scale.clone()
    assert found > 0.5
    for _ in range(20):
        calibration(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
        calibration(logits, logits.argmax(dim=1), counted=torch.zeros(64, dtype=torch.bool))
    assert torch.equal(calibration.log_scale, found)


@pytest.mark.parametrize('bad', [float('inf'), -float('inf'), float('nan')])
def test_a_row_that_is_not_finite_leaves_the_others_theirs(bad):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 4, generator=generator)
    labels = torch.arange(16) % 4
    expected, found = TeacherCalibration(), TeacherCalibration()
    expected(logits[1:], labels[1:])
    logits[0, 2] = bad
    scaled = found(logits, labels)
    assert torch.equal(found.log_scale, expected.log_scale)
    assert found.log_scale != 0
    # The loss of this step still shows it.
    assert not scaled[0].isfinite().all()


def test_the_host_sees_the_scaled_teacher():
    loss = BTKDLoss(rectify='none', schedule='none', calibrate=True).eval()
    plain = BTKDLoss(rectify='none', schedule='none').eval()
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, generator=generator)
    labels = torch.arange(6) % 4
    loss.calibration.log_scale.fill_(0.7)
    expected = plain(student, teacher * torch.tensor(0.7).exp(), labels)
    torch.testing.assert_close(loss(student, teacher, labels), expected)
    assert loss.log_vars['teacher_scale'].item() == pytest.approx(2.01375, rel=1e-5)
