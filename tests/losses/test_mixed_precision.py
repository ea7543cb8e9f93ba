"""In mixed precision a loss is computed in float32, whatever autocast does to what it calls."""

import pytest
import torch

from btkd_det.losses import (
    CWDLoss,
    FBKDLoss,
    FGDLoss,
    FitNetLoss,
    MGDLoss,
    PKDLoss,
    ReviewKDLoss,
    RKDAngleLoss,
    RKDDistanceLoss,
)
from btkd_det.losses.feature_loss import FeatureLoss
from btkd_det.registry import MODELS

from .every import BINARY, LOSSES, batch, call

SIZE = (8, 12)
#: Each with the magnitudes of maps that its layers have room for in float16.
FEATURE = {
    'cwd': (CWDLoss, dict(temperature=4.0), (1, 300)),
    'fitnet': (FitNetLoss, {}, (1, 300, 3000)),
    'pkd': (PKDLoss, {}, (1, 300, 3000)),
    'reviewkd': (ReviewKDLoss, dict(mid_channels=8), (1, 300, 3000)),
    'fgd': (FGDLoss, dict(lambda_=5e-4), (1, 10)),
    'mgd': (MGDLoss, {}, (1, 300)),
    'fbkd': (FBKDLoss, {}, (1, 300)),
    'rkd distance': (RKDDistanceLoss, {}, (1, 300)),
    'rkd distance of any length': (RKDDistanceLoss, dict(l2_norm=False), (1, 300)),
    'rkd angle': (RKDAngleLoss, {}, (1, 300)),
    'rkd angle of any length': (RKDAngleLoss, dict(l2_norm=False), (1, 300)),
}
CASES = [(name, scale) for name, (_, _, scales) in FEATURE.items() for scale in scales]


def test_every_feature_loss_is_here():
    registered = {
        cls
        for cls in MODELS.module_dict.values()
        if isinstance(cls, type) and issubclass(cls, FeatureLoss) and not cls.__subclasses__()
    }
    assert {cls for cls, _, _ in FEATURE.values()} == registered


def fitted(name):
    cls, arguments, _ = FEATURE[name]
    torch.manual_seed(0)
    loss = cls(**arguments)
    loss.fit([(8, *SIZE)], [(12, *SIZE)])
    for parameter in loss.parameters():
        # What begins at 0 would hide what lies behind it.
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return loss


@pytest.mark.parametrize(('name', 'scale'), CASES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_feature_losses_behind_an_adapter(name, scale, dtype):
    loss = fitted(name)
    generator = torch.Generator().manual_seed(0)
    # Images whose means differ, for what compares images.
    draw = lambda channels: torch.randn(4, channels, *SIZE, generator=generator).add(
        torch.randn(4, channels, 1, 1, generator=generator)
    )
    # Numbers that both precisions have.
    student, teacher = (draw(channels).mul(scale).to(dtype).float() for channels in (8, 12))
    student.requires_grad_()
    extra = dict(focal=[torch.full((4, 2, *SIZE), 1 / 96)]) if name == 'fgd' else {}
    torch.manual_seed(1)
    expected = loss([student], [teacher], **extra)
    (slope,) = torch.autograd.grad(expected, student)
    # As a GradScaler does it: small gradients have no place in half precision.
    factor = 1 / slope.abs().max()
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype):
        value = loss([student.to(dtype)], [teacher.to(dtype)], **extra)
    (found,) = torch.autograd.grad(value * factor, student)
    assert value.dtype == torch.float32
    tolerance = 0.01 if dtype is torch.float16 else 0.08
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=0)
    assert (found - slope * factor).norm() < 5 * tolerance * (slope * factor).norm()


@pytest.mark.parametrize('name', [*LOSSES, *BINARY])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_logit_losses(name, dtype):
    student, teacher, labels = batch(40, 7)
    student, teacher = student.detach().to(dtype), teacher.to(dtype)
    build = {**LOSSES, **BINARY}[name]
    expected = call(build(7), student, teacher, labels)
    with torch.autocast('cpu', dtype):
        assert torch.equal(call(build(7), student, teacher, labels), expected)
