"""The short form of the fuzzing; and labels of odd shapes and types."""

import warnings

import pytest
import torch

from btkd_det.losses import BTKDLoss, DISTLoss, IKDLoss, KDLoss, NKDLoss, PKDLoss

from .every import BINARY, LOSSES, batch, call
from .fuzz import ALL, fuzz


def test_finite_for_finite_input():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = fuzz(20 * len(ALL), seed=1)
    assert not found['faults']
    assert set(found['cases']) == set(ALL)


@pytest.mark.parametrize('name', [*LOSSES, *BINARY])
@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_what_is_not_finite_is_not_hidden(name, value):
    student, teacher, labels = batch(4, 5, dtype=torch.float32)
    with torch.no_grad():
        student[1, 2] = value
    assert not call({**LOSSES, **BINARY}[name](5), student, teacher, labels).isfinite()


SHAPES = {
    'a column': (torch.zeros(4, 1, dtype=torch.long), r'labels of shape \(4, 1\)'),
    'one for all': (torch.zeros(1, dtype=torch.long), r'one class index for each row, \(4,\)'),
    'without dimensions': (torch.tensor(1), r'labels of shape \(\)'),
    'floats': (torch.zeros(4), 'torch.float32; valid: class indices'),
    'truth values': (torch.zeros(4, dtype=torch.bool), 'labels of torch.bool'),
    'below 0': (torch.tensor([0, -1, 1, 2]), 'the label -1 for logits of 5 classes'),
    'ignored ones': (torch.tensor([0, 255, 1, 2]), 'the label 255 .* valid: 0 to 4'),
}


@pytest.mark.parametrize('case', SHAPES)
@pytest.mark.parametrize('build', [NKDLoss, BTKDLoss, lambda: IKDLoss(5), KDLoss])
def test_labels_that_are_no_class_of_each_row_are_one_error(case, build):
    student, teacher, _ = batch(4, 5, dtype=torch.float32)
    labels, words = SHAPES[case]
    with pytest.raises(ValueError, match=words):
        call(build(), student, teacher, labels)


@pytest.mark.parametrize('name', [*LOSSES, *BINARY])
@pytest.mark.parametrize('dtype', [torch.int32, torch.uint8, torch.int8])
def test_any_whole_numbers_are_labels(name, dtype):
    student, teacher, labels = batch(6, 5, dtype=torch.float32)
    build = {**LOSSES, **BINARY}[name]
    expected = call(build(5), student, teacher, labels)
    assert torch.equal(call(build(5), student, teacher, labels.to(dtype)), expected)


def test_no_rows_need_no_type():
    student, teacher, _ = batch(0, 5, dtype=torch.float32)
    assert call(NKDLoss(), student, teacher, torch.tensor([])) == 0


def test_what_is_constant_has_no_gradient_beyond_the_others():
    student, teacher, labels = batch(6, 5, dtype=torch.float32)
    with torch.no_grad():
        student[2] = 0.5
    call(DISTLoss(intra_weight=0.0), student, teacher, labels).backward()
    assert student.grad[2].abs().max() <= student.grad.abs().max(dim=1).values.median() * 10
    maps = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    dead = maps.clone()
    dead[:, 1] = 0
    dead.requires_grad_()
    PKDLoss()([dead], [maps.flip(0)]).backward()
    assert dead.grad[:, 1].abs().max() <= 10 * dead.grad[:, 0].abs().max()
