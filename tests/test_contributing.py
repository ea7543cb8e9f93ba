"""What CONTRIBUTING.md says one adds by one file works, in a package of one's own."""

import copy
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from btkd_det.bias.rules import RULES
from btkd_det.errors import ConfigError
from btkd_det.losses import BTKDLoss, FeatureLoss, LogitLoss
from btkd_det.registry import MODELS, SITES, build
from tests.conftest import build_detector
from tests.models.test_two_stage import distilled, one_step
from tests.single_stage import distilled as with_teacher
from tests.single_stage import save, step, tiny_detr

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'CONTRIBUTING.md').read_text()
KD = dict(type='btkd_det.KDLoss', temperature=1.0)


def code_of(heading):
    """The Python code of a section of the page."""
    section = re.search(rf'^### {heading}$(.*?)^##', PAGE, re.DOTALL | re.MULTILINE)[1]
    (code,) = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
    return code


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Write a section's code into a package and import it; nothing stays registered."""
    package = tmp_path / 'scratch_package'
    package.mkdir()
    (package / '__init__.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    registries = (SITES.module_dict, MODELS.module_dict, RULES)
    before = [set(registry) for registry in registries]

    def load(heading):
        name = heading.replace(' ', '_').lower()
        (package / f'{name}.py').write_text(code_of(heading))
        return importlib.import_module(f'scratch_package.{name}')

    yield load
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry) - names:
            del registry[name]
    for name in [name for name in sys.modules if name.partition('.')[0] == 'scratch_package']:
        sys.modules.pop(name)


def test_a_logit_loss(add):
    add('Add a logit loss')
    loss = build(dict(type='CrossLoss', temperature=1.0), 'x', LogitLoss)
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([1, 0])
    teacher = torch.tensor([[0.0, 40.0], [40.0, 0.0]])
    # A teacher that is sure of the labels makes it the cross entropy.
    expected = nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(loss(logits, teacher, labels), expected)
    around = BTKDLoss(loss=dict(type='CrossLoss', temperature=1.0), schedule='none')
    torch.testing.assert_close(around(logits, teacher, labels), expected)
    with pytest.raises(ConfigError, match='x.temperature: 0; valid: a number above 0'):
        build(dict(type='btkd_det.CrossLoss', temperature=0), 'x', LogitLoss)


def test_a_feature_loss(add):
    add('Add a feature loss')
    loss = build(dict(type='AbsoluteLoss', loss_weight=2.0), 'x', FeatureLoss)
    maps = [torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 1, 1)]
    assert loss(maps, [part - 3 for part in maps]) == 2 * (3 + 3)
    gate = [torch.full((1, 1, 2, 2), 0.25), torch.zeros(1, 1, 1, 1)]
    assert loss(maps, [part - 3 for part in maps], gate=gate) == 2 * 3


def test_a_rule(add):
    add('Add a rule')
    rule = dict(type='label_first', margin=2.0)
    loss = BTKDLoss(loss=KD, rectify=rule, schedule='none')
    student, labels = torch.tensor([[0.0, 1.0]]), torch.tensor([0])
    expected = build(KD, 'x', LogitLoss)(student, torch.tensor([[5.0, 3.0]]), labels)
    torch.testing.assert_close(loss(student, torch.tensor([[1.0, 3.0]]), labels), expected)
    with pytest.raises(ConfigError, match='its options: margin'):
        BTKDLoss(rectify=dict(type='label_first', gap=2.0))
    with pytest.raises(ConfigError, match="'label_first' is not defined on 'probs'"):
        BTKDLoss(rectify=rule, space='probs')


def test_a_site(add, student_config, teacher_config, teacher_checkpoint):
    sites = dict(roi_scores=dict(losses=KD, stages='last'), roi_logits=dict(KD, temperature=2.0))
    config = distilled(student_config, teacher_config, teacher_checkpoint, sites)
    with pytest.raises(ConfigError, match="unknown site 'roi_scores'.*valid sites: roi_logits"):
        build_detector(copy.deepcopy(config))
    add('Add a site')
    losses, _, _ = one_step(build_detector(config))
    own, expected = (losses[f'distill.{site}.loss_kd'] for site in sites)
    assert expected > 0
    # Halved logits at temperature 1 are the logits at temperature 2, but for its square.
    torch.testing.assert_close(own * 4, expected)


def test_a_site_stands_only_where_its_heads_are(add, tmp_path):
    add('Add a site')
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


def test_a_detector_family(add, tmp_path):
    add('Add a detector family')
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


def test_the_files_that_the_page_names_are_there():
    table = re.search(r'^\| what \|.*?\n\n', PAGE, re.DOTALL | re.MULTILINE)[0]
    rows = [line.split('|') for line in table.splitlines()[2:] if line]
    assert len(rows) == 8
    prefixes = ('', 'btkd_det/')
    for row in rows:
        paths = re.findall(r'`([\w/.]+)`', f'{row[2]} {row[3]}')
        for path in paths:
            # The new file is yours to write, in a folder that is there.
            place = Path(path).parent if Path(path).name == 'mine.py' else Path(path)
            assert any((ROOT / prefix / place).exists() for prefix in prefixes), path
