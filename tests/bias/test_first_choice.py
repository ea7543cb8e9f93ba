import pytest
import torch

from btkd_det.bias.rectify import first_choice


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('shape', [(0, 3), (1, 1), (40, 2), (7, 81)])
def test_the_largest_logit_of_each_row(dtype, shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = first_choice(logits.requires_grad_())
    assert found.dtype == torch.int64
    assert torch.equal(found, logits.argmax(dim=1))


def test_the_first_of_several():
    logits = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [3.0, 1.0, 3.0]])
    assert first_choice(logits).tolist() == [1, 0, 0]
    assert first_choice(logits.half()).tolist() == [1, 0, 0]


def test_columns_of_a_larger_tensor_and_what_is_no_number():
    logits = torch.tensor([[0.0, 9.0, 1.0, 5.0], [0.0, float('nan'), 1.0, float('inf')]])
    assert first_choice(logits[:, ::2]).tolist() == [1, 1]
    assert torch.equal(first_choice(logits), logits.argmax(dim=1))
