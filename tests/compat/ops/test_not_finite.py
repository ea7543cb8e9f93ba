"""A network that diverges gives offsets and RoIs that are no numbers: no crash comes of them."""

import multiprocessing

import pytest
import torch
from mmcv.ops import deform_conv2d, modulated_deform_conv2d, roi_align

VALUES = [float('nan'), float('inf'), float('-inf')]


def convolve(value):
    x = torch.randn(1, 4, 6, 5, requires_grad=True)
    weight = torch.randn(2, 4, 3, 3, requires_grad=True)
    offset = torch.zeros(1, 18, 6, 5)
    offset[:, ::5] = value
    offset.requires_grad_()
    for output in (
        deform_conv2d(x, offset, weight, 1, 1),
        modulated_deform_conv2d(x, offset, torch.ones(1, 9, 6, 5), weight, None, 1, 1),
    ):
        output.sum().backward()
        assert output.isfinite().all()
    # Samples outside of the map are 0.
    expected = torch.where(offset.isfinite(), offset, 1e6).detach()
    again = deform_conv2d(x, expected, weight, 1, 1)
    torch.testing.assert_close(deform_conv2d(x, offset, weight, 1, 1), again)


def pool(value):
    features = torch.randn(1, 3, 9, 11, requires_grad=True)
    rois = torch.tensor([[0, 1, 1, 8, 8], [0, value, 1, 8, 8], [0, 1, 1, 8, value]])
    output = roi_align(features, rois, (3, 2), 0.5, 0, 'avg', True)
    output.sum().backward()
    assert output[0].abs().sum() > 0
    assert not output[1:].any()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize('value', VALUES)
@pytest.mark.parametrize('run', [convolve, pool])
def test_what_is_no_number_is_outside_of_the_map(run, value):
    # In a process of its own, which a segmentation fault would end.
    process = multiprocessing.get_context('fork').Process(target=run, args=(value,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
