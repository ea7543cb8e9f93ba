"""PKD's own backward pass: its gradient, and what it holds meanwhile."""

import pytest
import torch

from btkd_det.losses import PKDLoss, pkd
from btkd_det.losses.feature_loss import weighted_sum


def plain(student, teacher, gate=None):
    """The formula, step by step, with autograd's gradient."""
    maps = []
    for part in (student, teacher):
        centered = part - part.mean(dim=(0, 2, 3), keepdim=True)
        deviation = part.std(dim=(0, 2, 3), keepdim=True)
        maps.append(centered / (deviation + 1e-6))
    return weighted_sum((maps[0] - maps[1]).square().mean(dim=1), gate) / 2


def drawn(seed, shape=(3, 5, 6, 7), dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3 + 1


GATES = {
    'no gate': None,
    'a gate': torch.rand(3, 1, 6, 7, generator=torch.Generator().manual_seed(2)).double(),
}


@pytest.mark.parametrize('gate', GATES.values(), ids=list(GATES))
@pytest.mark.parametrize('at_a_time', [1, 126, 300, 10**6])
def test_value_and_gradient_are_the_formula_s(gate, at_a_time, monkeypatch):
    monkeypatch.setattr(pkd, 'AT_A_TIME', at_a_time)
    student, teacher = drawn(0).requires_grad_(), drawn(1)
    expected = plain(student, teacher, gate)
    (slope,) = torch.autograd.grad(expected, student)
    gates = None if gate is None else [gate]
    value = PKDLoss(loss_weight=2.0)([student], [teacher], gates)
    (found,) = torch.autograd.grad(value, student)
    torch.testing.assert_close(value, 2 * expected)
    torch.testing.assert_close(found, 2 * slope)


def test_parts_hold_every_channel_once(monkeypatch):
    for at_a_time in (1, 100, 126, 300, 10**6):
        monkeypatch.setattr(pkd, 'AT_A_TIME', at_a_time)
        covered = [list(range(5))[part] for part in pkd._parts(drawn(0))]
        assert sum(covered, []) == [0, 1, 2, 3, 4]
        assert all(len(part) * 126 <= max(at_a_time, 126) for part in covered)


def test_a_constant_channel_moves_nothing_and_the_others_as_without_it():
    student, teacher = drawn(0), drawn(1)
    student[:, 2] = 5.0
    student.requires_grad_()
    PKDLoss()([student], [teacher]).backward()
    others = [0, 1, 3, 4]
    alone = student.detach()[:, others].requires_grad_()
    PKDLoss()([alone], [teacher[:, others]]).backward()
    torch.testing.assert_close(student.grad[:, others], alone.grad * 4 / 5)
    assert student.grad[:, 2].abs().max() < 10 * alone.grad.abs().max()


def test_a_single_value_of_each_channel_costs_half_a_teacher_that_is_0():
    student = torch.randn(1, 4, 1, 1, requires_grad=True)
    value = PKDLoss()([student], [torch.randn(1, 4, 1, 1)])
    value.backward()
    assert value == 0
    assert not student.grad.any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_nothing_is_held_but_the_maps(dtype):
    student, teacher = (drawn(seed, (2, 16, 32, 32), dtype) for seed in (0, 1))
    student.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        PKDLoss()([student], [teacher])
    large = [tensor for tensor in kept if isinstance(tensor, torch.Tensor) and tensor.numel() > 16]
    assert {tensor.data_ptr() for tensor in large} == {student.data_ptr(), teacher.data_ptr()}


def test_half_precision_is_computed_in_float32():
    student, teacher = (drawn(seed, (2, 6, 16, 16)) * 1000 for seed in (0, 1))
    student, teacher = student.half().requires_grad_(), teacher.half()
    value = PKDLoss()([student], [teacher])
    value.backward()
    exact = student.detach().float().requires_grad_()
    expected = PKDLoss()([exact], [teacher.float()])
    expected.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(student.grad, exact.grad.half())


def test_it_compiles():
    student, teacher = drawn(0, dtype=torch.float32).requires_grad_(), drawn(1, dtype=torch.float32)
    loss = PKDLoss()
    expected = loss([student], [teacher])
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)([student], [teacher])
    torch.testing.assert_close(compiled, expected)
    (slope,) = torch.autograd.grad(expected, student)
    (found,) = torch.autograd.grad(compiled, student)
    torch.testing.assert_close(found, slope)
