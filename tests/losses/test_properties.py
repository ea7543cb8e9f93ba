"""What holds for every logit loss, whatever its formula."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from btkd_det.losses import KDLoss, LogitLoss

from .every import BINARY, HOSTS, LOSSES, batch, call

EVERY = pytest.mark.parametrize('name', LOSSES)
FEW = settings(deadline=None, max_examples=10)
SEEDS = st.integers(0, 2**32)


def value_and_gradient(name, student, teacher, labels):
    student = student.detach().clone().requires_grad_()
    value = call(LOSSES[name](teacher.shape[1]), student, teacher, labels)
    value.backward()
    return value.detach(), student.grad


@EVERY
@FEW
@given(seed=SEEDS, rows=st.integers(1, 6), classes=st.integers(2, 6), kind=st.integers(0, 3))
def test_finite_and_without_a_gradient_to_the_teacher(name, seed, rows, classes, kind):
    student, teacher, labels = batch(rows, classes, seed, wrong=(None, True, False, None)[kind])
    if kind == 3:
        # Ties: small whole numbers share the largest logit often.
        teacher = teacher.round().clamp(-1, 1)
    teacher.requires_grad_()
    value = call(LOSSES[name](classes), student, teacher, labels)
    value.backward()
    assert value.ndim == 0
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert teacher.grad is None or not teacher.grad.any()


@EVERY
def test_no_rows_are_an_exact_zero_with_a_gradient(name):
    student, teacher, labels = batch(0, 5)
    value = call(LOSSES[name](5), student, teacher, labels)
    value.backward()
    assert value.item() == 0
    assert student.grad.shape == (0, 5)


@pytest.mark.parametrize('name', [*LOSSES, *BINARY])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_the_rows_alone_in_half_precision(name, dtype):
    student, teacher, labels = batch(40, 7, scale=4e3)
    student = student.detach().clamp(-6e4, 6e4).to(dtype).requires_grad_()
    teacher = teacher.clamp(-6e4, 6e4).to(dtype)
    build = {**LOSSES, **BINARY}[name]
    loss = build(7)
    known = {'progress': 1 / 3} if 'progress' in loss.extra_inputs else {}
    rows = loss.per_row(student, teacher, labels, **known)
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    expected = build(7).per_row(student.float(), teacher.float(), labels, **known)
    torch.testing.assert_close(rows, expected)


@EVERY
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('classes', [2, 7])
def test_huge_logits_in_any_precision(name, dtype, classes):
    student, teacher, labels = batch(40, classes, scale=4e3)
    student, teacher = student.detach().clamp(-1e4, 1e4), teacher.clamp(-1e4, 1e4)
    student[0], teacher[0] = 1e4, -1e4
    student[1, 0], student[1, 1:], teacher[1, 0], teacher[1, 1:] = 1e4, -1e4, -1e4, 1e4
    student[2], teacher[2] = 0, 0
    student = student.to(dtype).requires_grad_()
    value = call(LOSSES[name](classes), student, teacher.to(dtype), labels)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


# On raw logits the rule adds to and divides by the values themselves.
NOT_INVARIANT = {'btkd_pair_blend'}


@pytest.mark.parametrize('name', sorted(LOSSES.keys() - NOT_INVARIANT))
@FEW
@given(seed=SEEDS, classes=st.integers(2, 6))
def test_a_shift_of_a_row_changes_nothing(name, seed, classes):
    student, teacher, labels = batch(5, classes, seed)
    shifts = torch.linspace(-7, 9, 10, dtype=torch.float64).reshape(2, 5, 1)
    expected = value_and_gradient(name, student, teacher, labels)
    found = value_and_gradient(name, student + shifts[0], teacher + shifts[1], labels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('name', sorted(NOT_INVARIANT))
def test_a_shift_matters_to_a_rule_on_raw_logits(name):
    student, teacher, labels = batch(5, 4, wrong=True)
    before, _ = value_and_gradient(name, student, teacher, labels)
    after, _ = value_and_gradient(name, student, teacher + 3, labels)
    assert abs(after / before - 1) > 1e-3


@EVERY
@FEW
@given(seed=SEEDS, classes=st.integers(2, 6), rows=st.integers(1, 6))
def test_the_order_of_rows_and_of_classes_changes_nothing(name, seed, classes, rows):
    student, teacher, labels = batch(rows, classes, seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator)
    value, gradient = value_and_gradient(name, student, teacher, labels)
    shuffled = value_and_gradient(name, student[order], teacher[order], labels[order])
    torch.testing.assert_close(shuffled, (value, gradient[order]))
    # Its means belong to the classes, and stay where they are; the last class is the background.
    if name in ('ikd', 'btkd_missed'):
        return
    order = torch.randperm(classes, generator=generator)
    renamed = value_and_gradient(
        name, student[:, order], teacher[:, order], order.argsort()[labels]
    )
    torch.testing.assert_close(renamed, (value, gradient[:, order]))


@EVERY
def test_the_mean_over_rows_times_the_weight(name):
    student, teacher, labels = batch(6, 5)
    loss = LOSSES[name](5).eval()
    arguments = {'progress': 1 / 3} if name.startswith('btkd') else {}
    rows = loss.per_row(student, teacher, labels, **arguments)
    assert rows.shape == (6,)
    weight = loss.loss_weight
    torch.testing.assert_close(call(loss, student, teacher, labels), rows.mean() * weight)
    loss.loss_weight = 3 * weight
    torch.testing.assert_close(call(loss, student, teacher, labels), rows.mean() * 3 * weight)


@EVERY
def test_reduction_as_in_every_mmdet_loss(name):
    student, teacher, labels = batch(6, 5)
    loss = LOSSES[name](5).eval()
    rows = call(loss, student, teacher, labels, reduction_override='none')
    assert rows.shape == (6,)
    weight = torch.tensor([1.0, 0, 2, 0, 1, 1], dtype=torch.float64)
    for arguments, expected in (
        (dict(), rows.mean()),
        (dict(reduction_override='sum'), rows.sum()),
        (dict(avg_factor=2), rows.sum() / 2),
        (dict(weight=weight), (rows * weight).mean()),
        (dict(weight=weight, avg_factor=torch.tensor(5.0)), (rows * weight).sum() / 5),
        (dict(weight=weight, reduction_override='none'), rows * weight),
    ):
        found = call(loss, student, teacher, labels, **arguments)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert call(loss, student, teacher, labels, weight=weight * 0, avg_factor=0.0) == 0
    with pytest.raises(ValueError, match="'mean', not with 'sum'"):
        call(loss, student, teacher, labels, avg_factor=2, reduction_override='sum')
    with pytest.raises(ValueError, match="reduction_override: unknown value 'avg'"):
        call(loss, student, teacher, labels, reduction_override='avg')


# A cross entropy, a teacher smoother than the student, the means of classes, a scaled teacher.
NOT_ZERO_AT_EQUALITY = {'nkd', 'btkd_nkd', 'wttm', 'btkd_wttm', 'ikd', 'btkd_robust', 'wsld'}


@pytest.mark.parametrize('name', sorted(LOSSES.keys() - NOT_ZERO_AT_EQUALITY))
def test_a_student_that_says_what_the_teacher_says_costs_nothing(name):
    _, teacher, labels = batch(6, 5, scale=1.0, wrong=False)
    value, gradient = value_and_gradient(name, teacher, teacher, labels)
    assert value.abs() < 1e-6
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize(('name', 'part'), [('dkd', 'beta'), ('nkd', 'gamma')])
def test_two_classes_have_no_non_target_part(name, part):
    student, teacher, labels = batch(6, 2)
    with_part, without_part = HOSTS[name](**{part: 5.0}), HOSTS[name](**{part: 0.0})
    expected = without_part(student, teacher, labels)
    assert torch.equal(with_part(student, teacher, labels), expected)
    assert expected != 0


# The weight that WSLD gives a row is a number, of which there is no gradient.
@pytest.mark.parametrize('name', sorted(LOSSES.keys() - {'wsld'}))
def test_gradients_by_finite_differences(name):
    student, teacher, labels = batch(4, 3, scale=1.0)
    loss = LOSSES[name](3).eval()
    assert torch.autograd.gradcheck(lambda s: call(loss, s, teacher, labels), student)


@EVERY
def test_the_log_entries_are_scalars_without_a_graph_and_no_losses(name):
    student, teacher, labels = batch(6, 5)
    loss = LOSSES[name](5)
    call(loss, student, teacher, labels)
    first = dict(loss.log_vars)
    assert bool(first) == (name.startswith('btkd') or name == 'ikd')
    for key, value in first.items():
        assert 'loss' not in key
        assert value.ndim == 0
        assert not value.requires_grad
    call(loss, *batch(6, 5, wrong=True))
    assert first.keys() == loss.log_vars.keys()


@EVERY
def test_a_copy_after_a_call_goes_on_alike(name):
    # As an averaged (EMA) model makes one in the middle of training.
    arguments = batch(6, 5)
    loss = LOSSES[name](5)
    call(loss, *arguments)
    twin = copy.deepcopy(loss)
    assert call(twin, *arguments) == call(loss, *arguments)


def test_logits_of_other_shapes_are_refused():
    student, teacher, labels = batch(6, 5)
    with pytest.raises(ValueError, match=r'student logits \(6, 4\) and teacher logits \(6, 5\)'):
        KDLoss()(student[:, :4], teacher, labels)


@pytest.mark.parametrize('name', HOSTS)
def test_labels_are_asked_for_by_the_losses_that_read_them(name):
    student, teacher, labels = batch(6, 5)
    loss = HOSTS[name]()
    assert loss.needs_labels == (name in ('dkd', 'nkd', 'rld', 'wsld'))
    if loss.needs_labels:
        with pytest.raises(ValueError, match=f'{type(loss).__name__} needs labels'):
            loss(student, teacher)
    else:
        assert torch.equal(loss(student, teacher), loss(student, teacher, labels))


def test_a_loss_that_does_not_say_what_a_row_costs():
    with pytest.raises(NotImplementedError, match='LogitLoss does not say what a row costs'):
        LogitLoss()(*batch(6, 5))
