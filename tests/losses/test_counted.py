"""Rows that do not count: the loss is that of the batch without them."""

import pytest
import torch

from btkd_det.losses import BTKDLoss, IKDLoss

from .every import LOSSES, batch, call
from .test_device import Recorder

COUNTED = torch.tensor([True, False, True, True, False, True, True, False, True])
EVERY = pytest.mark.parametrize('name', LOSSES)


def run(name, student, teacher, labels, **arguments):
    loss, student = LOSSES[name](5), student.detach().clone().requires_grad_()
    value = call(loss, student, teacher, labels, **arguments)
    value.sum().backward()
    return loss, value.detach(), student.grad


def rows(wrong_among_the_rest):
    student, teacher, labels = batch(9, 5)
    # As an ignored anchor of a detector, such a row may well be one that the teacher gets wrong.
    choice = teacher.argmax(dim=1)
    labels[~COUNTED] = (choice[~COUNTED] + int(wrong_among_the_rest)) % 5
    return student, teacher, labels


@EVERY
@pytest.mark.parametrize('wrong', [False, True])
def test_as_if_the_others_were_not_there(name, wrong):
    student, teacher, labels = rows(wrong)
    loss, value, gradient = run(name, student, teacher, labels, counted=COUNTED)
    alone = run(name, student[COUNTED], teacher[COUNTED], labels[COUNTED])
    torch.testing.assert_close((value, gradient[COUNTED]), alone[1:])
    assert not gradient[~COUNTED].any()
    torch.testing.assert_close(loss.log_vars, alone[0].log_vars)
    for ours, theirs in zip(loss.buffers(), alone[0].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    everything = run(name, student, teacher, labels)[1]
    assert not torch.isclose(value, everything)


@EVERY
def test_all_of_them_are_what_none_says(name):
    student, teacher, labels = rows(True)
    all_of_them = torch.ones_like(COUNTED)
    masked, plain = (
        run(name, student, teacher, labels, **arguments)
        for arguments in (dict(counted=all_of_them), {})
    )
    torch.testing.assert_close(masked[1:], plain[1:])
    torch.testing.assert_close(masked[0].log_vars, plain[0].log_vars)


@EVERY
def test_no_row_that_counts_is_an_exact_zero_with_a_gradient(name):
    student, teacher, labels = rows(True)
    loss, value, gradient = run(name, student, teacher, labels, counted=torch.zeros_like(COUNTED))
    assert value.item() == 0
    assert not gradient.any()
    assert all(entry.isfinite() for entry in loss.log_vars.values())


@EVERY
def test_reductions(name):
    student, teacher, labels = rows(False)
    arguments = dict(counted=COUNTED, reduction_override='none')
    _, each, _ = run(name, student, teacher, labels, **arguments)
    assert not each[~COUNTED].any()
    _, mean, _ = run(name, student, teacher, labels, counted=COUNTED)
    torch.testing.assert_close(each.sum() / COUNTED.sum(), mean)
    arguments['reduction_override'] = 'sum'
    torch.testing.assert_close(run(name, student, teacher, labels, **arguments)[1], each.sum())


@EVERY
def test_no_operator_waits_for_the_device(name):
    student, teacher, labels = rows(True)
    loss = LOSSES[name](5)
    with Recorder() as recorder:
        call(loss, student, teacher, labels, counted=COUNTED).backward()
    assert recorder.names
    assert not recorder.waiting


def test_rows_that_count_and_show_an_object():
    student, teacher, labels = rows(True)
    foreground = torch.tensor([True, True, False, True, False, False, True, True, True])
    build = lambda: BTKDLoss(trust='measured', foreground_only=True)
    loss, alone = build(), build()
    value = call(loss, student, teacher, labels, foreground=foreground, counted=COUNTED)
    kept = [part[COUNTED] for part in (student, teacher, labels)]
    torch.testing.assert_close(value, call(alone, *kept, foreground=foreground[COUNTED]))
    torch.testing.assert_close(loss.trust.sums, alone.trust.sums)
    assert loss.trust.sums[0] == (COUNTED & foreground).sum()


def test_means_of_a_class_are_collected_without_them():
    student, teacher, labels = rows(True)
    everything, alone = IKDLoss(5, collect_iters=9), IKDLoss(5, collect_iters=9)
    assert everything(student, teacher, labels, counted=COUNTED) == 0
    assert alone(student[COUNTED], teacher[COUNTED], labels[COUNTED]) == 0
    torch.testing.assert_close(everything.class_means, alone.class_means)
    torch.testing.assert_close(everything.class_counts, alone.class_counts)
    assert everything.class_counts.sum() == COUNTED.sum()
