"""Logits of any size become what losses can compute with, and what is not finite stays so."""

import pytest
import torch

from btkd_det.losses.logit_loss import LARGEST, bounded

INF, NAN = float('inf'), float('nan')


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_large_logits_are_cut_and_others_kept_bit_for_bit(dtype):
    most = torch.finfo(dtype).max
    logits = torch.tensor([0.1, -1e-30, 3e7, -LARGEST, 2e15, -1e38, most, -most], dtype=dtype)
    found = bounded(logits)
    assert torch.equal(found[:4], logits[:4])
    assert torch.equal(found[4:], torch.tensor([1, -1, 1, -1], dtype=dtype) * LARGEST)
    assert found.dtype == dtype


def test_what_is_infinite_or_no_number_stays_so():
    found = bounded(torch.tensor([INF, -INF, NAN]))
    assert found[:2].tolist() == [INF, -INF]
    assert found[2].isnan()


def test_what_was_cut_off_has_no_gradient_and_the_rest_its_own():
    logits = torch.tensor([-2e15, -3.0, 0.0, 1e10, 3e38], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    (bounded(logits) * weights).sum().backward()
    assert logits.grad.tolist() == [0, 2, 3, 4, 0]
    assert torch.autograd.gradcheck(
        bounded, torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    )
