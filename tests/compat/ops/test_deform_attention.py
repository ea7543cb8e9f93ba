"""Deformable attention against one bilinear sample at a time."""

import math

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

SHAPES = [(4, 5), (2, 3)]
attend = MultiScaleDeformableAttnFunction.apply


def operands(dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    random = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)
    value = random(2, sum(h * w for h, w in SHAPES), 2, 3) - 0.5
    # From -0.25 to 1.25: some points lie outside the map.
    locations = random(2, 4, 2, len(SHAPES), 3, 2) * 1.5 - 0.25
    weights = random(2, 4, 2, len(SHAPES), 3)
    return [t.to(dtype) for t in (value, locations, weights)]


def call(value, locations, weights):
    shapes = torch.tensor(SHAPES, device=value.device)
    starts = torch.tensor([0, math.prod(SHAPES[0])], device=value.device)
    return attend(value, shapes, starts, locations, weights, 64)


def reference(value, locations, weights):
    batch, queries, heads, levels, points, _ = locations.shape
    output = torch.zeros(batch, queries, heads, value.size(3), dtype=torch.float64)
    for b, q, h, level, p in torch.cartesian_prod(
        *map(torch.arange, (batch, queries, heads, levels, points))
    ).tolist():
        height, width = SHAPES[level]
        start = sum(r * c for r, c in SHAPES[:level])
        x, y = locations[b, q, h, level, p].tolist()
        # A share of 0 is the outer edge of the first pixel, half a pixel from its center.
        x, y = x * width - 0.5, y * height - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    pixel = value[b, start + row * width + column, h]
                    output[b, q, h] += weights[b, q, h, level, p] * share * pixel
    return output.flatten(2)


def test_values(device):
    output = call(*(t.to(device) for t in operands()))
    torch.testing.assert_close(output.cpu(), reference(*operands()))


def test_gradients():
    assert torch.autograd.gradcheck(call, [t.requires_grad_() for t in operands()], fast_mode=True)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision(device, dtype):
    results = []
    for kind in (dtype, torch.float32):
        inputs = [t.to(device, kind).requires_grad_() for t in operands(dtype)]
        output = call(*inputs)
        output.backward(torch.ones_like(output))
        results.append([t.detach().to(dtype) for t in (output, *(i.grad for i in inputs))])
    assert results[0][0].dtype == dtype
    torch.testing.assert_close(results[0], results[1])
