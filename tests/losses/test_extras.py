"""What a loss reads beside the logits, it says by the signature of ``per_row`` alone."""

import pytest
import torch

from btkd_det.losses import BTKDLoss, DISTLoss, IKDLoss, KDLoss, LogitLoss

from .every import HOSTS, batch

COUNTED = torch.tensor([True, False, True, True, False, True])


class Centered(LogitLoss):
    """Its rows depend on each other, and it says nothing of it."""

    needs_labels = False

    def per_row(self, student_logits, teacher_logits, labels=None):
        gap = (student_logits - teacher_logits).square().sum(dim=1)
        return (gap - gap.mean()).square()


class Weighted(LogitLoss):
    """It asks for something that a site knows."""

    def per_row(self, student_logits, teacher_logits, labels, foreground=None, *, progress=0.0):
        return (student_logits - teacher_logits).square().sum(dim=1) * foreground * progress


def test_what_is_declared():
    assert Centered.extra_inputs == ('counted',)
    assert Weighted.extra_inputs == ('foreground', 'progress', 'counted')
    assert [cls.takes_counted for cls in (KDLoss, DISTLoss, IKDLoss, BTKDLoss)] == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize('build', [Centered, lambda: BTKDLoss(Centered(), schedule='none')])
def test_rows_that_depend_on_each_other_do_not_see_those_that_do_not_count(build):
    student, teacher, labels = batch(6, 4)
    value = build()(student, teacher, labels, counted=COUNTED)
    gradient = torch.autograd.grad(value, student)[0]
    kept = [part.detach()[COUNTED] for part in (student, teacher, labels)]
    torch.testing.assert_close(value, build()(*kept))
    assert gradient[COUNTED].abs().sum() > 0
    assert not gradient[~COUNTED].any()
    assert not torch.isclose(value, build()(student, teacher, labels))


def test_extras_of_rows_that_do_not_count_are_left_out_too():
    student, teacher, labels = batch(6, 4)
    foreground = torch.tensor([True, True, False, True, True, True])
    known = dict(progress=0.5, counted=COUNTED, foreground=foreground)
    value = Weighted()(student, teacher, labels, **known)
    kept = [part[COUNTED] for part in (student, teacher, labels)]
    expected = Weighted()(*kept, progress=0.5, foreground=foreground[COUNTED])
    torch.testing.assert_close(value, expected)


def test_nothing_that_counts_costs_nothing():
    student, teacher, labels = batch(6, 4)
    value = Centered()(student, teacher, labels, counted=torch.zeros_like(COUNTED))
    assert value.item() == 0
    assert not torch.autograd.grad(value, student)[0].any()


@pytest.mark.parametrize('name', HOSTS)
def test_a_loss_that_calls_its_rows_independent_is_right(name):
    loss = HOSTS[name]()
    student, teacher, labels = batch(6, 4)
    rows = loss.per_row(student, teacher, labels)
    alone = loss.per_row(student[:2], teacher[:2], labels[:2])
    assert torch.allclose(rows[:2], alone) is loss.independent_rows


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_per_row_never_sees_half_precision_or_a_teacher_that_learns(dtype):
    seen = []

    class Spy(LogitLoss):
        def per_row(self, student_logits, teacher_logits, labels):
            seen.extend([student_logits, teacher_logits])
            return student_logits.sum(dim=1)

    logits = torch.ones(2, 3, dtype=dtype, requires_grad=True)
    for function in (Spy(), Spy().per_row):
        assert function(logits, logits, torch.zeros(2).long()).dtype == torch.float32
    assert {part.dtype for part in seen} == {torch.float32}
    assert [part.requires_grad for part in seen] == [True, False] * 2


@pytest.mark.parametrize('required', [True, False])
def test_a_host_inside_btkd_gets_what_it_declares(required):
    seen = []

    class Host(LogitLoss):
        independent_rows = True
        if required:

            def per_row(self, student_logits, teacher_logits, labels, foreground):
                seen.append(foreground)
                return (student_logits - teacher_logits).square().sum(dim=1)
        else:

            def per_row(self, student_logits, teacher_logits, labels, foreground=None, mine=2):
                seen.append((foreground, mine))
                return (student_logits - teacher_logits).square().sum(dim=1)

    student, teacher, foreground = torch.randn(4, 3), torch.randn(4, 3), torch.ones(4).bool()
    loss = BTKDLoss(loss=Host(), schedule='none')
    assert {'foreground', 'mine'} - set(loss.extra_inputs) == ({'mine'} if required else set())
    loss(student, teacher, torch.tensor([0, 1, 2, 0]), foreground=foreground)
    if required:
        assert seen == [foreground]
    else:
        loss(student, teacher, torch.tensor([0, 1, 2, 0]), mine=5)
        assert seen == [(foreground, 2), (None, 5)]
