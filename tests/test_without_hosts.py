"""Losses work with torch and MMEngine alone, the classifier without MMDetection."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFUSE = """
import importlib.abc
import sys


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {refused}:
            raise ModuleNotFoundError(f'{{name}} is refused', name=name)


sys.meta_path.insert(0, Refuse())
"""
BEYOND_MMENGINE = (
    *('mmdet', 'mmcv', 'mmpretrain', 'mmrazor', 'pycocotools', 'faster_coco_eval'),
    *('torchvision', 'scipy', 'PIL', 'timm'),
)

BIAS = """
import torch
from btkd_det.bias import curriculum, is_right, rectify, register_rule

logits, labels = torch.tensor([[0.0, 2.0], [3.0, 1.0]]), torch.tensor([0, 0])
right = is_right(logits, labels)
assert right.tolist() == [False, True]
assert rectify(logits, labels, 'swap').tolist() == [[2.0, 0.0], [3.0, 1.0]]
assert curriculum(right, 0.25, 'linear').tolist() == [0.25, 0.75]
"""

LOSSES = """
import torch
import btkd_det.losses as losses
from btkd_det.registry import MODELS, build, registered

assert 'BTKDLoss' in registered(losses.LogitLoss)
student = torch.tensor([[0.5, 1.0, -1.0], [0.0, 0.2, 0.1]], requires_grad=True)
teacher, labels = torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 0.0]]), torch.tensor([0, 0])
for name in registered(losses.LogitLoss):
    cfg = dict(type=name, **(dict(num_classes=3) if name == 'IKDLoss' else {}))
    ours = dict(cfg, type=f'btkd_det.{name}')
    for loss in (build(cfg, 'x', losses.LogitLoss), MODELS.build(ours)):
        value = loss(student, teacher, labels, progress=0.5)
        assert value.isfinite() and value.requires_grad, name
half = losses.KDLoss(1.0)(student, torch.tensor([[2.0, 0.0, 1.0], [3.0, 1.0, 0.0]]), labels)
btkd = losses.BTKDLoss(dict(type='KDLoss', temperature=1.0), schedule='none')
torch.testing.assert_close(btkd(student, teacher, labels), half)
maps = [torch.randn(2, 4, 8, 8)]
for loss in (losses.PKDLoss(), losses.CWDLoss(), losses.FitNetLoss()):
    assert loss(maps, [m + 1 for m in maps]).isfinite()
from btkd_det.losses.reviewkd import hierarchical_context_loss
assert hierarchical_context_loss(maps, maps) == 0
"""

CIFAR = """
import torch
from btkd_det.models import Teacher
from btkd_det.models.backbones import build_cifar_classifier

assert build_cifar_classifier('resnet8', 10)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
"""

DETECTORS = """
from btkd_det.registry import METRICS, MODELS

for registry, name in (
    (MODELS, 'DistilledDetector'),
    (MODELS, 'DistilledSingleStageDetector'),
    (MODELS, 'btkd_det.DistilledTwoStageDetector'),
    (METRICS, 'CocoAP'),
    (METRICS, 'VocAP'),
):
    try:
        registry.get(name)
    except ImportError as error:
        assert 'mmdet' in str(error), error
    else:
        raise AssertionError(name)
"""

TOOL = """
import io
import runpy
from contextlib import redirect_stdout

for arguments, said in (
    (['test', 'c.py', 'c.pth'], "which test needs; see python -m btkd_det.doctor"),
    (['--help'], None),
):
    sys.argv = ['btkd_det', *arguments]
    try:
        with redirect_stdout(io.StringIO()) as listed:
            runpy.run_module('btkd_det', run_name='__main__')
    except SystemExit as end:
        assert said and str(end.code).startswith('error: ') and str(end.code).endswith(said), end
    else:
        assert said is None and 'bias_report' in listed.getvalue()
"""

CLASSIFIER = """
import tempfile
from mmengine.config import Config
import btkd_det
from btkd_det.evaluation import TeacherAgreement
from tests.classifiers import (
    NUM_CLASSES, build_classifier, distilled_resnet, one_step, save_teacher, tiny_resnet
)

with tempfile.TemporaryDirectory() as folder:
    checkpoint = save_teacher(f'{folder}/teacher.pth', tiny_resnet(width=12))
    guest = dict(config=dict(model=tiny_resnet(width=12)), checkpoint=checkpoint)
    sites = dict(
        logits=[dict(type='btkd_det.BTKDLoss', schedule='none'), dict(type='btkd_det.KDLoss')],
        features=dict(type='btkd_det.ReviewKDLoss', mid_channels=8),
    )
    losses, gradients = one_step(build_classifier(distilled_resnet(guest, sites)))
    assert {'distill.logits.loss_btkd', 'distill.features.loss_review_kd'} <= set(losses)
    plain = Config(dict(model=tiny_resnet(), default_scope='mmpretrain'))
    assert btkd_det.distill(plain, guest, 'btkd').model.type.endswith('DistilledImageClassifier')
"""


def run(code, refused, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(REFUSE.format(refused=refused) + code)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    result = subprocess.run(
        [sys.executable, script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    'code',
    [BIAS, LOSSES + CIFAR + DETECTORS, TOOL],
    ids=['bias', 'losses, networks, detectors', 'tools'],
)
def test_torch_and_mmengine_alone(code, tmp_path):
    run(code, BEYOND_MMENGINE, tmp_path)


def test_a_classifier_without_mmdetection(tmp_path):
    run(CLASSIFIER + DETECTORS, ('mmdet', 'mmrazor', 'pycocotools', 'faster_coco_eval'), tmp_path)
