"""Against implementations that are not ours: PyTorch's, and MMRazor's where it is installed."""

import importlib.util
import sys
import types

import pytest
import torch
from torch.nn import functional as F

from btkd_det.losses import CWDLoss, DISTLoss, DKDLoss, KDLoss, PKDLoss

from .every import batch


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_kd_is_torch_s_kl_div(temperature):
    student, teacher, labels = batch(12, 7)
    expected = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction='batchmean',
        log_target=True,
    )
    torch.testing.assert_close(
        KDLoss(temperature)(student, teacher, labels), expected * temperature**2
    )


def test_kd_is_mmdet_s_times_the_classes_and_stands_in_its_place():
    from mmdet.registry import MODELS

    head = dict(
        type='mmdet.LDHead',
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        anchor_generator=dict(
            type='mmdet.AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[8],
        ),
    )
    ours, theirs = (
        MODELS.build(dict(head, loss_ld=loss)).loss_ld
        for loss in (
            dict(type='btkd_det.KDLoss', temperature=10, loss_weight=0.25),
            dict(type='mmdet.KnowledgeDistillationKLDivLoss', T=10, loss_weight=0.25),
        )
    )
    assert isinstance(ours, KDLoss)
    student, teacher, _ = batch(12, 17)
    weight = torch.arange(12) / 12
    # As LDHead calls it.
    found = ours(student, teacher, weight=weight, avg_factor=4.0)
    expected = theirs(student, teacher, weight=weight, avg_factor=4.0) * 17
    torch.testing.assert_close(found, expected)


def mmrazor_loss(monkeypatch, module, name):
    """A loss class of MMRazor.

    The package refuses to be imported beside today's MMCV and PyTorch, so its one file is
    executed with nothing but a registry that registers nothing.
    """
    package = importlib.util.find_spec('mmrazor')
    if package is None:
        pytest.skip('mmrazor is not installed')
    registry = types.ModuleType('mmrazor.registry')
    registry.MODELS = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    monkeypatch.setitem(sys.modules, 'mmrazor', types.ModuleType('mmrazor'))
    monkeypatch.setitem(sys.modules, 'mmrazor.registry', registry)
    path = f'{package.submodule_search_locations[0]}/models/losses/{module}.py'
    spec = importlib.util.spec_from_file_location('mmrazor_loss', path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)


def compare(ours, theirs, *arguments):
    """Value and gradient with respect to the first argument, a leaf."""
    found = []
    for loss in (ours, theirs):
        arguments[0].grad = None
        value = loss(*arguments)
        value.backward()
        found.append((value.detach(), arguments[0].grad))
    torch.testing.assert_close(found[0], found[1])


# It hands torch size_average=False beside a reduction. That means the sum and wins over
# 'mean'; 'batchmean' divides the sum by the rows after all.
@pytest.mark.filterwarnings('ignore:size_average')
@pytest.mark.parametrize(('reduction', 'divisor'), [('batchmean', 1), ('mean', 12)])
@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_dkd_is_mmrazor_s(monkeypatch, temperature, reduction, divisor):
    theirs = mmrazor_loss(monkeypatch, 'decoupled_kd', 'DKDLoss')
    theirs = theirs(tau=temperature, alpha=0.7, beta=3.0, reduction=reduction)
    ours = DKDLoss(0.7, 3.0, temperature)
    compare(ours, lambda *arguments: theirs(*arguments) / divisor, *batch(12, 7))


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_dist_is_mmrazor_s(monkeypatch, temperature):
    theirs = mmrazor_loss(monkeypatch, 'dist_loss', 'DISTLoss')(2.0, 0.5, tau=temperature)
    student, teacher, labels = batch(12, 7)
    compare(
        lambda student: DISTLoss(2.0, 0.5, temperature)(student, teacher, labels),
        lambda student: theirs(student, teacher),
        student,
    )


def feature_maps(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 5, size, size + 2, generator=generator) for size in (8, 4)]


def test_pkd_is_mmrazor_s(monkeypatch):
    theirs = mmrazor_loss(monkeypatch, 'pkd_loss', 'PKDLoss')(loss_weight=2.0)
    teacher, deeper = feature_maps(1), feature_maps(2)[1]
    student = feature_maps(0)[0].requires_grad_()
    compare(
        lambda leaf: PKDLoss(loss_weight=2.0)((leaf, deeper), teacher),
        lambda leaf: theirs((leaf, deeper), tuple(teacher)),
        student,
    )


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_cwd_is_mmrazor_s(monkeypatch, temperature):
    theirs = mmrazor_loss(monkeypatch, 'cwd', 'ChannelWiseDivergence')(temperature, 3.0)
    teacher, student = feature_maps(1)[0], feature_maps(0)[0].requires_grad_()
    compare(
        lambda leaf: CWDLoss(temperature, loss_weight=3.0)([leaf], [teacher]),
        lambda leaf: theirs(leaf, teacher),
        student,
    )
