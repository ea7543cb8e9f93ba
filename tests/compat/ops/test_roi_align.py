"""RoI align against one bilinear sample at a time."""

import math

import pytest
import torch
from mmcv.ops import roi_align

BINS = (3, 2)
SCALE = 0.5
# Image index and corners: inside, wider than high, over three borders, reversed, no area,
# and outside the map.
ROIS = [
    [0, 2.3, 1.7, 13.1, 15.9],
    [1, 0.4, 6.2, 19.5, 9.1],
    [1, -9.0, -7.0, 45.0, 9.0],
    [0, 9.0, 8.0, 5.0, 3.0],
    [0, 5.0, 5.0, 5.0, 5.0],
    [1, 60.0, 60.0, 70.0, 80.0],
]


def features(dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, 9, 11, generator=generator, dtype=torch.float64).to(dtype)


def bilinear(feature, y, x):
    height, width = feature.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    value = 0.0
    for row, by_row in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
        for column, by_column in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
            value += by_row * by_column * feature[row, column].item()
    return value


def reference(feature_maps, rois, mode, sampling_ratio, aligned):
    output = torch.zeros(len(rois), feature_maps.size(1), *BINS, dtype=torch.float64)
    for k, (image, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (c * SCALE - (0.5 if aligned else 0) for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        rows = sampling_ratio or math.ceil(height / BINS[0])
        columns = sampling_ratio or math.ceil(width / BINS[1])
        for c in range(feature_maps.size(1)):
            for i in range(BINS[0]):
                for j in range(BINS[1]):
                    samples = [
                        bilinear(
                            feature_maps[int(image), c],
                            y1 + (i + (a + 0.5) / rows) * height / BINS[0],
                            x1 + (j + (b + 0.5) / columns) * width / BINS[1],
                        )
                        for a in range(rows)
                        for b in range(columns)
                    ]
                    if samples:
                        pool = max if mode == 'max' else lambda s: sum(s) / len(s)
                        output[k, c, i, j] = pool(samples)
    return output


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
class TestAgainstTheLoop:
    def test_values(self, device, mode, sampling_ratio, aligned):
        rois = torch.tensor(ROIS, dtype=torch.float64, device=device)
        pooled = roi_align(features().to(device), rois, BINS, SCALE, sampling_ratio, mode, aligned)
        expected = reference(features(), ROIS, mode, sampling_ratio, aligned)
        assert expected.count_nonzero() > 40
        torch.testing.assert_close(pooled.cpu(), expected)

    def test_gradient(self, mode, sampling_ratio, aligned):
        rois = torch.tensor(ROIS, dtype=torch.float64)
        call = lambda x: roi_align(x, rois, BINS, SCALE, sampling_ratio, mode, aligned)
        assert torch.autograd.gradcheck(call, features().requires_grad_(), fast_mode=True)

    @pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
    def test_lower_precision(self, device, dtype, mode, sampling_ratio, aligned):
        """Computed in float32: both ways are rounded once, on the way out."""
        rois = torch.tensor(ROIS).to(device, dtype)
        results = []
        for kind in (dtype, torch.float32):
            x = features(dtype).to(device, kind).requires_grad_()
            pooled = roi_align(x, rois.to(kind), BINS, SCALE, sampling_ratio, mode, aligned)
            # Powers of two, so that the gradient that comes in has the same value in each type.
            pooled.backward(
                2.0 ** (torch.arange(pooled.numel(), device=device) % 4).view_as(pooled).to(kind)
            )
            results.append((pooled.detach().to(dtype), x.grad.to(dtype)))
        assert results[0][0].dtype == dtype
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_autocast_does_not_lower_the_precision(device, mode):
    results = []
    for enabled in (False, True):
        x = features(torch.float32).to(device).requires_grad_()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            pooled = roi_align(x, torch.tensor(ROIS, device=device), BINS, SCALE, 0, mode, True)
            pooled.sum().backward()
        results.append((pooled.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_no_regions(device, mode):
    x = features().to(device).requires_grad_()
    rois = torch.zeros(0, 5, dtype=torch.float64, device=device)
    pooled = roi_align(x, rois, BINS, SCALE, 0, mode, True)
    pooled.sum().backward()
    assert pooled.shape == (0, 3, *BINS)
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
def test_deterministic_mode_repeats_its_gradient():
    rois = torch.tensor(ROIS, device='cuda').repeat(50, 1)
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            x = features(torch.float32).cuda().requires_grad_()
            roi_align(x, rois, BINS, SCALE, 2, 'avg', True).square().sum().backward()
            gradients.append(x.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*gradients)
