"""A site, and a detector family, are added by one file outside of the package."""

import copy
import importlib
import sys

import pytest
import torch
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.registry import MODELS, SITES
from tests.conftest import build_detector
from tests.models.test_two_stage import distilled, one_step
from tests.single_stage import distilled as with_teacher
from tests.single_stage import save, step, tiny_detr

KD = dict(type='btkd_det.KDLoss', temperature=1.0)


@pytest.fixture
def imported():
    """What a config's ``custom_imports`` does; nothing stays registered."""
    registries = (SITES.module_dict, MODELS.module_dict)
    before = [set(registry) for registry in registries]
    modules = []

    def load(name):
        modules.append(f'tests.sites.scratch.{name}')
        return importlib.import_module(modules[-1])

    yield load
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry) - names:
            del registry[name]
    for name in modules:
        sys.modules.pop(name)


def test_a_site(imported, student_config, teacher_config, teacher_checkpoint):
    sites = dict(roi_scores=dict(losses=KD, stages='last'), roi_logits=dict(KD, temperature=2.0))
    config = distilled(student_config, teacher_config, teacher_checkpoint, sites)
    with pytest.raises(ConfigError, match="unknown site 'roi_scores'.*valid sites: roi_logits"):
        build_detector(copy.deepcopy(config))
    imported('roi_scores')
    losses, _, _ = one_step(build_detector(config))
    own, expected = (losses[f'distill.{site}.loss_kd'] for site in sites)
    assert expected > 0
    # Halved logits at temperature 1 are the logits at temperature 2, but for its square.
    torch.testing.assert_close(own * 4, expected)


def test_a_site_stands_only_where_its_heads_are(imported, tmp_path):
    imported('roi_scores')
    save(tiny_detr(), tmp_path / 'teacher.pth')
    config = with_teacher(
        tiny_detr(),
        tiny_detr(),
        tmp_path / 'teacher.pth',
        dict(roi_scores=KD),
        type='btkd_det.DistilledDetector',
        host='DETR',
    )
    with pytest.raises(ConfigError, match='valid sites: query_logits, query_boxes, fpn, backbone$'):
        build_detector(config)


def test_a_detector_family(imported, tmp_path):
    imported('distilled_detr')
    save(tiny_detr(), tmp_path / 'teacher.pth')
    sites = dict(query_scores=KD, fpn=dict(type='btkd_det.PKDLoss'))
    kind = dict(type='btkd_det.DistilledDETR')
    config = with_teacher(tiny_detr(), tiny_detr(), tmp_path / 'teacher.pth', sites, **kind)
    model = build_detector(config)
    log = step(model)
    assert log['distill.query_scores.loss_kd'] > 0
    assert log['distill.fpn.loss_pkd'] > 0
    assert model.bbox_head.fc_cls.weight.grad.abs().sum() > 0
    model.load_state_dict(model.teacher.model.state_dict(), strict=False)
    # Without dropout, a student with the teacher's weights is the teacher.
    model.train = lambda mode=True: nn.Module.train(model, False)
    log = step(model)
    assert log['distill.query_scores.loss_kd'].item() == pytest.approx(0, abs=1e-6)
