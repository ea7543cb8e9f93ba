import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from btkd_det.errors import ConfigError
from btkd_det.losses import BTKDLoss, KDLoss
from btkd_det.losses.trust import MeasuredTrust

from .every import batch

STEPS = 200
NOISE = 2.5


def train(teacher_right_rate, trust, stop=STEPS, state=None):
    """Train a linear student on overlapping clusters, of which it gets half right.

    The teacher's logits point at the label with the given probability, elsewhere at random.
    Returns the values, the factors that trust gave, and all that a checkpoint would hold.
    """
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(10, 16, generator=generator)
    student = torch.nn.Linear(16, 10)
    torch.nn.init.zeros_(student.weight)
    torch.nn.init.zeros_(student.bias)
    loss = BTKDLoss(trust=trust, schedule='none')
    optimizer = torch.optim.SGD(student.parameters(), lr=0.3)
    start = 0
    if state is not None:
        student.load_state_dict(state['student'])
        loss.load_state_dict(state['loss'])
        start = state['step']
    values, factors = [], []
    for step in range(STEPS):
        labels = torch.randint(0, 10, (64,), generator=generator)
        images = centers[labels] + NOISE * torch.randn(64, 16, generator=generator)
        told = torch.rand(64, generator=generator) < teacher_right_rate
        guess = torch.randint(0, 10, (64,), generator=generator)
        teacher = 6.0 * torch.nn.functional.one_hot(torch.where(told, labels, guess), 10)
        if step < start:
            continue
        logits = student(images)
        distill = loss(logits, teacher, labels)
        (torch.nn.functional.cross_entropy(logits, labels) + distill).backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(distill.item())
        factors.append(loss.log_vars['trust'].item() if trust else 1.0)
        if step + 1 == stop:
            break
    checkpoint = dict(student=student.state_dict(), loss=loss.state_dict(), step=stop)
    return values, factors, checkpoint


def test_a_random_teacher_fades_out_within_the_first_quarter():
    values, factors, _ = train(0.0, 'measured')
    assert max(factors[STEPS // 4 :]) < 0.01
    untrusted, _, _ = train(0.0, None)
    assert max(values[STEPS // 4 :]) < 0.01 * min(untrusted[STEPS // 4 :])


def test_a_perfect_teacher_keeps_its_weight():
    values, factors, checkpoint = train(1.0, 'measured')
    assert min(factors) > 0.9
    untrusted, _, _ = train(1.0, None)
    assert values[0] > 0.9 * untrusted[0]
    rows, teacher_right, student_right = checkpoint['loss']['trust.sums']
    assert teacher_right / rows == 1
    assert 0.3 < student_right / rows < 0.9


def test_an_overtaken_teacher_steps_back():
    loss = BTKDLoss(trust='measured', schedule='none')
    student, teacher, labels = batch(64, 10, wrong=True)
    student = 9.0 * torch.nn.functional.one_hot(labels, 10)
    loss(student, teacher, labels)
    assert loss.log_vars['trust'] < 1e-6


def test_the_factor_is_the_formula_on_the_moving_means():
    loss = BTKDLoss(trust='measured', schedule='none', trust_gain=5.0, trust_momentum=0.5)
    plain = BTKDLoss(schedule='none')
    sums = torch.zeros(3, dtype=torch.float64)
    for seed, rows in enumerate((6, 30, 1, 0, 12)):
        student, teacher, labels = batch(rows, 3, seed)
        student_right = (student.argmax(dim=1) == labels).sum()
        teacher_right = (teacher.argmax(dim=1) == labels).sum()
        sums = sums / 2 + torch.tensor([rows, teacher_right, student_right])
        factor = torch.sigmoid(5 * (sums[1] - sums[2]) / sums[0])
        expected = plain(student, teacher, labels) * factor
        torch.testing.assert_close(loss(student, teacher, labels), expected, rtol=1e-6, atol=0)
        assert loss.log_vars['trust'].item() == pytest.approx(factor.item())
        right = [loss.log_vars[name].item() for name in ('teacher_right', 'student_right')]
        assert right == pytest.approx((sums[1:] / sums[0]).tolist())


def test_only_the_foreground_is_counted():
    student, teacher, labels = batch(20, 4)
    foreground = torch.arange(20) < 5
    loss = BTKDLoss(trust='measured')
    loss(student, teacher, labels, progress=0.5, foreground=foreground)
    right = (teacher.argmax(dim=1) == labels)[:5].double().mean()
    assert loss.log_vars['teacher_right'].item() == pytest.approx(right.item())
    assert loss.trust.sums[0] == 5


def test_before_any_row_the_factor_is_neutral_and_evaluation_counts_none():
    loss = BTKDLoss(trust='measured', schedule='none').eval()
    loss(*batch(8, 4))
    assert loss.log_vars['trust'] == 0.5
    assert not loss.trust.sums.any()


def test_resumed_it_goes_on_exactly():
    values, factors, _ = train(0.5, 'measured', stop=60)
    _, _, middle = train(0.5, 'measured', stop=30)
    assert train(0.5, 'measured', stop=60, state=middle)[:2] == (values[30:], factors[30:])


@pytest.mark.parametrize(('noise', 'lead'), [(0.0, 1 - 0.4 / 0.55), (0.2, 1 - 0.25 / 0.4375)])
def test_relative_trust_compares_the_errors_beside_those_of_the_labels(noise, lead):
    trust = MeasuredTrust(gain=5.0, form='relative', margin=0.1)
    trust.sums.copy_(torch.tensor([100.0, 60.0, 45.0]))
    factor = trust.eval()(None, None, None, label_noise=noise)
    assert factor.item() == pytest.approx(1 / (1 + math.exp(-5 * (lead - 0.1))), rel=1e-5)


def test_relative_trust_steps_back_before_a_teacher_is_overtaken():
    far, near = MeasuredTrust(form='relative').eval(), MeasuredTrust(form='relative').eval()
    far.sums.copy_(torch.tensor([100.0, 80.0, 50.0]))
    near.sums.copy_(torch.tensor([100.0, 53.0, 50.0]))
    assert far(None, None, None) > 0.99
    assert near(None, None, None) < 0.1
    overtaken = MeasuredTrust().eval()
    overtaken.sums.copy_(near.sums)
    assert overtaken(None, None, None) > 0.5


def test_two_that_make_no_errors_are_alike():
    trust = MeasuredTrust(form='relative').eval()
    trust.sums.copy_(torch.tensor([100.0, 100.0, 100.0]))
    assert trust(None, None, None).item() == pytest.approx(1 / (1 + math.exp(4)), rel=1e-5)


def test_what_trust_takes_the_label_gets():
    student, teacher, labels = batch(32, 5, dtype=torch.float32)
    options = dict(loss=dict(type='KDLoss', loss_weight=0.5), schedule='none', rectify='none')
    loss = BTKDLoss(trust='measured', give_back=True, **options)
    found = loss(student, teacher, labels)
    trust = loss.log_vars['trust']
    kd = KDLoss()(student, teacher, labels)
    expected = 0.5 * (trust * kd + (1 - trust) * cross_entropy(student, labels))
    torch.testing.assert_close(found, expected)


def test_rows_that_do_not_count_get_nothing_back():
    student, teacher, labels = batch(12, 5, dtype=torch.float32)
    counted = torch.arange(12) < 7
    options = dict(schedule='none', trust='relative', give_back=True)
    found = BTKDLoss(**options)(student, teacher, labels, counted=counted)
    alone = BTKDLoss(**options)(student[:7], teacher[:7], labels[:7])
    torch.testing.assert_close(found, alone)


def test_nothing_to_give_back_without_trust():
    with pytest.raises(ConfigError, match='give_back: .* trust is None; valid: give_back=False'):
        BTKDLoss(give_back=True)


def test_a_form_that_does_not_exist():
    with pytest.raises(ConfigError, match="trust: 'absolute'; valid: None, measured, relative"):
        BTKDLoss(trust='absolute')
    with pytest.raises(ConfigError, match='trust_margin: 1'):
        BTKDLoss(trust='relative', trust_margin=1)
