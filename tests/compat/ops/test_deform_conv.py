"""Deformable convolution against one bilinear sample at a time."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import deform_conv2d, modulated_deform_conv2d

# groups, deformable groups, stride, padding, dilation
GEOMETRIES = [
    (1, 1, 1, 1, 1),
    (2, 1, (2, 1), (1, 0), 1),
    (1, 2, 1, (2, 1), (2, 1)),
    (2, 2, 2, 2, 1),
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def operands(geometry, dtype=torch.float64, kernel=(3, 2), size=(6, 5), channels=4):
    groups, deform_groups, stride, padding, dilation = geometry
    generator = torch.Generator().manual_seed(11)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    out = [
        (size[d] + 2 * pair(padding)[d] - pair(dilation)[d] * (kernel[d] - 1) - 1)
        // pair(stride)[d]
        + 1
        for d in range(2)
    ]
    points = deform_groups * kernel[0] * kernel[1]
    x = random(2, channels, *size)
    offset = random(2, 2 * points, *out)
    mask = random(2, points, *out).sigmoid()
    weight = random(4, channels // groups, *kernel)
    bias = random(4)
    return x, offset, mask, weight, bias


def sample(feature, y, x):
    """Bilinear, with zeros around the map."""
    height, width = feature.shape
    top, left = math.floor(y), math.floor(x)
    value = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                value += share * feature[row, column].item()
    return value


def reference(x, offset, mask, weight, bias, geometry):
    groups, deform_groups, stride, padding, dilation = geometry
    (sy, sx), (py, px), (dy, dx) = pair(stride), pair(padding), pair(dilation)
    kernel_h, kernel_w = weight.shape[2:]
    output = bias.view(1, -1, 1, 1).repeat(len(x), 1, *offset.shape[2:])
    for n, o, i, j in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        group = o // (weight.size(0) // groups)
        for c in range(weight.size(1)):
            channel = group * weight.size(1) + c
            own = channel // (x.size(1) // deform_groups)
            for a in range(kernel_h):
                for b in range(kernel_w):
                    point = own * kernel_h * kernel_w + a * kernel_w + b
                    y = i * sy - py + a * dy + offset[n, 2 * point, i, j].item()
                    z = j * sx - px + b * dx + offset[n, 2 * point + 1, i, j].item()
                    value = sample(x[n, channel], y, z) * mask[n, point, i, j].item()
                    output[n, o, i, j] += weight[o, c, a, b] * value
    return output


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_v1_values(device, geometry):
    groups, deform_groups, *window = geometry
    x, offset, mask, weight, bias = operands(geometry)
    expected = reference(x, offset, torch.ones_like(mask), weight, 0 * bias, geometry)
    output = deform_conv2d(
        *(t.to(device) for t in (x, offset, weight)), *window, groups, deform_groups
    )
    torch.testing.assert_close(output.cpu(), expected)


@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('with_bias', [True, False])
def test_v2_values(device, geometry, with_bias):
    groups, deform_groups, *window = geometry
    x, offset, mask, weight, bias = operands(geometry)
    expected = reference(x, offset, mask, weight, bias * with_bias, geometry)
    operand = [t.to(device) for t in (x, offset, mask, weight, bias)]
    if not with_bias:
        operand[-1] = None
    output = modulated_deform_conv2d(*operand, *window, groups, deform_groups)
    torch.testing.assert_close(output.cpu(), expected)


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_v1_gradients(geometry):
    groups, deform_groups, *window = geometry
    x, offset, _, weight, _ = operands(geometry)
    call = lambda *t: deform_conv2d(*t, *window, groups, deform_groups)
    inputs = [t.requires_grad_() for t in (x, offset, weight)]
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('with_bias', [True, False])
def test_v2_gradients(geometry, with_bias):
    groups, deform_groups, *window = geometry
    inputs = [t.requires_grad_() for t in operands(geometry)]
    if not with_bias:
        inputs[-1] = None
    call = lambda *t: modulated_deform_conv2d(*t, *window, groups, deform_groups)
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


def test_without_offsets_it_is_a_convolution(device):
    x, offset, mask, weight, bias = (t.to(device) for t in operands(GEOMETRIES[1]))
    groups, deform_groups, *window = GEOMETRIES[1]
    plain = F.conv2d(x, weight, None, *window, groups)
    output = deform_conv2d(x, 0 * offset, weight, *window, groups, deform_groups)
    torch.testing.assert_close(output, plain)
    half = modulated_deform_conv2d(
        x, 0 * offset, torch.full_like(mask, 0.5), weight, bias, *window, groups, deform_groups
    )
    torch.testing.assert_close(half, plain / 2 + bias.view(1, -1, 1, 1))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('version', [1, 2])
def test_lower_precision(device, dtype, version):
    """Values and gradients are those of float32 rounded once."""
    geometry = GEOMETRIES[3]
    groups, deform_groups, *window = geometry
    results = []
    for kind in (dtype, torch.float32):
        x, offset, mask, weight, bias = (
            t.to(device, kind).requires_grad_() for t in operands(geometry, dtype)
        )
        if version == 1:
            inputs = (x, offset, weight)
            output = deform_conv2d(*inputs, *window, groups, deform_groups)
        else:
            inputs = (x, offset, mask, weight, bias)
            output = modulated_deform_conv2d(*inputs, *window, groups, deform_groups)
        output.backward(torch.ones_like(output))
        results.append([t.detach().to(dtype) for t in (output, *(i.grad for i in inputs))])
    assert results[0][0].dtype == dtype
    torch.testing.assert_close(results[0], results[1])


def test_autocast_does_not_lower_the_precision(device):
    groups, deform_groups, *window = GEOMETRIES[0]
    inputs = [t.to(device) for t in operands(GEOMETRIES[0], torch.float32)]
    call = lambda: modulated_deform_conv2d(*inputs, *window, groups, deform_groups)
    plain = call()
    with torch.autocast(device, dtype=torch.bfloat16):
        torch.testing.assert_close(call(), plain)
