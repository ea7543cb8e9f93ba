"""Our losses against the values and gradients of the papers' published code."""

import numpy as np
import pytest
import torch

from . import golden


@pytest.mark.parametrize('case', golden.CASES)
def test_every_value_and_gradient(case):
    arrays = golden.arrays()
    student, teacher, labels = (
        arrays[f'{case}/{name}'] for name in ('student', 'teacher', 'labels')
    )
    names = golden.names(case)
    assert len(names) == 36
    gradients = 0
    for name in names:
        loss, arguments = golden.loss_and_arguments(name, teacher, labels)
        leaf = student.clone().requires_grad_()
        value = loss(leaf, teacher, labels, **arguments)
        value.backward()
        assert value.item() == pytest.approx(golden.values()[case][name], rel=1e-6), name
        expected = arrays.get(f'{case}/grad/{name}')
        if expected is not None:
            gradients += 1
            np.testing.assert_allclose(leaf.grad, expected, rtol=1e-5, atol=1e-7, err_msg=name)
    assert gradients == 8


@pytest.mark.parametrize('name', ['dist_inter1_intra1_T1', 'dist_inter2_intra0.5_T4'])
def test_dist(name):
    arrays = golden.arrays('features')
    student = arrays['dist/student'].clone().requires_grad_()
    loss, _ = golden.loss_and_arguments(name, student, None)
    value = loss(student, arrays['dist/teacher'], None)
    value.backward()
    assert value.item() == pytest.approx(golden.values('features')[name], rel=1e-6)
    np.testing.assert_allclose(student.grad, arrays[f'grad/{name}'], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('case', golden.CASES)
def test_float32_agrees_to_its_precision(case):
    arrays = golden.arrays()
    student, teacher = (arrays[f'{case}/{name}'].float() for name in ('student', 'teacher'))
    labels = arrays[f'{case}/labels']
    for name in golden.names(case):
        loss, arguments = golden.loss_and_arguments(name, teacher, labels)
        value = loss(student, teacher, labels, **arguments)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(golden.values()[case][name], rel=1e-4), name


@pytest.mark.parametrize('case', golden.CASES)
def test_class_means(case):
    arrays = golden.arrays()
    teacher, labels = arrays[f'{case}/teacher'], arrays[f'{case}/labels']
    loss, _ = golden.loss_and_arguments('ikd_T1', teacher, labels)
    counts = arrays[f'{case}/ikd/class_count']
    assert torch.equal(loss.class_counts, counts)
    expected = arrays[f'{case}/ikd/class_sum'] / counts.clamp(min=1).unsqueeze(1)
    torch.testing.assert_close(loss.class_means, expected)
