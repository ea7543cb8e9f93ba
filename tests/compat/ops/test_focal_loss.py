"""Focal loss against the formula of the paper, one logit at a time."""

import math

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss

CLASSES = 4
# The last class number, CLASSES, is the background.
LABELS = torch.tensor([0, 3, 4, 1, 4])


def logits(dtype=torch.float64, scale=2.0):
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(len(LABELS), CLASSES, generator=generator, dtype=torch.float64)
    return (values * scale).to(dtype)


def reference_sigmoid(x, labels, gamma, alpha, weight=None):
    rows = []
    for row, label in zip(x.tolist(), labels.tolist(), strict=True):
        terms = []
        for c, value in enumerate(row):
            p = 1 / (1 + math.exp(-value))
            if c == label:
                term = -alpha * (1 - p) ** gamma * math.log(p)
            else:
                term = -(1 - alpha) * p**gamma * math.log(1 - p)
            if weight is not None and label < len(row):
                term *= weight[label].item()
            terms.append(term)
        rows.append(terms)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_values(device, gamma, weighted):
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64) if weighted else None
    expected = reference_sigmoid(logits(), LABELS, gamma, 0.3, weight)
    loss = sigmoid_focal_loss(
        logits().to(device),
        LABELS.to(device),
        gamma,
        0.3,
        None if weight is None else weight.to(device),
        'none',
    )
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', ['sum', 'mean'])
def test_sigmoid_gradient(gamma, weighted, reduction):
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64) if weighted else None
    call = lambda x: sigmoid_focal_loss(x, LABELS, gamma, 0.3, weight, reduction)
    assert torch.autograd.gradcheck(call, logits().requires_grad_())


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_sigmoid_in_lower_precision(device, dtype):
    """The half types are rounded once, on the way out."""
    x = logits(dtype).to(device).requires_grad_()
    expected = reference_sigmoid(x.detach(), LABELS, 2.0, 0.25)
    loss = sigmoid_focal_loss(x, LABELS.to(device), 2.0, 0.25, None, 'none')
    assert loss.dtype == dtype
    unit = torch.finfo(dtype).eps
    tiny = torch.finfo(dtype).smallest_normal
    torch.testing.assert_close(
        loss.detach().cpu().double(), expected, rtol=4 * unit, atol=unit * tiny
    )
    loss.backward(torch.ones_like(loss))
    exact = x.detach().double().requires_grad_()
    sigmoid_focal_loss(exact, LABELS.to(device), 2.0, 0.25, None, 'sum').backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=4 * unit, atol=unit * tiny)


def test_sigmoid_is_finite_and_right_far_out():
    x = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = sigmoid_focal_loss(x, torch.tensor([1]), 2.0, 0.25, None, 'none')
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.tensor([[0.75e4, 0.25e4]]))
    torch.testing.assert_close(x.grad, torch.tensor([[0.75, -0.25]]))


def test_autocast_does_not_lower_the_precision(device):
    x, weight = logits(torch.float32).to(device), torch.rand(CLASSES).to(device)
    call = lambda: sigmoid_focal_loss(x, LABELS.to(device), 2.0, 0.25, weight, 'none')
    plain = call()
    with torch.autocast(device, dtype=torch.bfloat16):
        torch.testing.assert_close(call(), plain, rtol=0, atol=0)


def test_sigmoid_without_rows():
    x = torch.zeros(0, CLASSES, requires_grad=True)
    loss = sigmoid_focal_loss(x, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss.item() == 0
    assert x.grad.shape == (0, CLASSES)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weighted', [False, True])
def test_softmax_values_and_gradient(gamma, weighted):
    labels = torch.tensor([0, 3, 2, 1, -1])
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64) if weighted else None
    x = logits().requires_grad_()
    loss = softmax_focal_loss(x.clone(), labels, gamma, 0.3, weight, 'none')
    expected = []
    for row, label in zip(x.tolist(), labels.tolist(), strict=True):
        p = math.exp(row[label]) / sum(map(math.exp, row))
        factor = 0.3 * (1 if weight is None else weight[label].item()) * (label >= 0)
        expected.append(-factor * (1 - p) ** gamma * math.log(p))
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))
    call = lambda x: softmax_focal_loss(x.clone(), labels, gamma, 0.3, weight, 'sum')
    assert torch.autograd.gradcheck(call, x)


def test_softmax_of_a_sure_row_is_finite():
    x = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    softmax_focal_loss(x.clone(), torch.tensor([0, 0]), 0.5, 0.25, None, 'sum').backward()
    assert torch.isfinite(x.grad).all()
