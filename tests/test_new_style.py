"""Configs in MMEngine's new style: read, built, distilled, written and read again."""

import inspect
import pickle

import pytest
import torch
from mmcv import ops
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, TASK_UTILS

import btkd_det
from btkd_det import preflight
from btkd_det.config.new_style import node_with_names
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.from_mmrazor import convert_config

from .conftest import build_detector, tiny_faster_rcnn

HEADER = """
from mmengine.config import read_base
from torch.optim import SGD
from mmcv.transforms import Resize
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.optim import OptimWrapper
from torch.nn.modules.activation import SiLU

with read_base():
    from .base import *

default_scope = None
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1))
pipeline = [dict(type=Resize, scale=(8, 8)), dict(type=LoadAnnotations, with_bbox=True)]
train_dataloader = dict(
    dataset=dict(type=CocoDataset, ann_file='a.json', pipeline=pipeline,
                 metainfo=dict(classes=('cat', 'dog', 'hen'))))
"""


def new_style(model):
    """The text of a model's config with a class in place of every type, and its imports."""
    imports = {}

    def with_classes(node):
        if isinstance(node, dict):
            return {
                key: _found(value) if key == 'type' else with_classes(value)
                for key, value in node.items()
            }
        return [with_classes(v) for v in node] if isinstance(node, (list, tuple)) else node

    def _found(name):
        cls = getattr(ops, name, None)
        for registry in (MODELS, TASK_UTILS):
            cls = cls or registry.get(f'mmdet.{name}') or registry.get(name)
        imports[cls.__name__] = cls.__module__
        return Symbol(cls.__name__)

    text = f'model = {with_classes(model)!r}\n'
    lines = [f'from {module} import {name}\n' for name, module in imports.items()]
    return ''.join(lines) + text


class Symbol(str):
    __repr__ = str.__str__


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """``student.py`` and ``teacher.py`` with a checkpoint, all in the new style."""
    folder = tmp_path_factory.mktemp('new style')
    for name, width in (('student', 8), ('teacher', 12)):
        (folder / name).mkdir()
        text = new_style(tiny_faster_rcnn(width=width).to_dict())
        (folder / name / 'base.py').write_text(text)
        (folder / name / f'{name}.py').write_text(HEADER)
    teacher = build_detector(tiny_faster_rcnn(width=12))
    torch.save(dict(state_dict=teacher.state_dict()), folder / 'teacher.pth')
    return folder


def objects(node):
    """What of a config is no plain value."""
    if isinstance(node, dict):
        return [found for value in node.values() for found in objects(value)]
    if isinstance(node, (list, tuple)):
        return [found for value in node for found in objects(value)]
    return [node] if inspect.isclass(node) or inspect.isroutine(node) else []


def test_types_are_the_names_that_the_hosts_ask_for(folder):
    cfg = read_config(folder / 'student' / 'student.py', 'CONFIG')
    assert objects(cfg) == []
    assert cfg.model.type == 'mmdet.FasterRCNN'
    assert cfg.model.rpn_head.loss_bbox.type == 'mmdet.L1Loss'
    assert cfg.model.backbone.norm_cfg.type == 'BN'
    assert cfg.model.test_cfg.rcnn.nms.type == 'nms'
    assert cfg.model.roi_head.bbox_roi_extractor.roi_layer.type == 'RoIAlign'
    # MMDetection has a Resize and a LoadAnnotations of its own.
    assert [step.type for step in cfg.pipeline] == ['mmengine.Resize', 'mmdet.LoadAnnotations']
    assert cfg.optim_wrapper.optimizer.type == 'SGD'
    assert 'SGD' not in cfg
    pickle.dumps(cfg)


def test_it_builds_the_model_that_the_plain_style_builds(folder, tmp_path):
    from mmengine.registry import DefaultScope

    path = str(folder / 'student' / 'student.py')
    expected = build_detector(tiny_faster_rcnn())
    host = MODELS.build(Config.fromfile(path).model)
    cfg = preflight.load_config(path)
    cfg.dump(tmp_path / 'dumped.py')
    DefaultScope._instance_dict.clear()
    for own in (cfg, preflight.load_config(str(tmp_path / 'dumped.py')), Config.fromfile(path)):
        model = preflight.build_model(own)
        assert str(model) == str(host)
        assert {k: v.shape for k, v in model.state_dict().items()} == {
            k: v.shape for k, v in expected.state_dict().items()
        }


def test_it_is_distilled_and_teaches(folder, tmp_path):
    student, teacher = (str(folder / name / f'{name}.py') for name in ('student', 'teacher'))
    checkpoint = str(folder / 'teacher.pth')
    for given in (student, Config.fromfile(student)):
        cfg = btkd_det.distill(given, dict(config=teacher, checkpoint=checkpoint), 'ikd')
        assert cfg.model.distill.roi_logits[1].num_classes == 4
        cfg.dump(tmp_path / 'distilled.py')
        model = preflight.build_model(preflight.load_config(str(tmp_path / 'distilled.py')))
        assert type(model).__name__ == 'DistilledTwoStageDetector'
        assert model.teacher.model.backbone.conv1.out_channels == 12


def test_a_distilled_config_in_the_new_style_is_known_as_one(folder):
    path = folder / 'student' / 'own.py'
    path.write_text(
        HEADER.replace('.base', '.student')
        + 'from btkd_det.losses import KDLoss\n'
        + 'from btkd_det.models import DistilledTwoStageDetector\n'
        + f'teacher = dict(config={str(folder / "teacher/teacher.py")!r}, '
        + f'checkpoint={str(folder / "teacher.pth")!r})\n'
        + 'model.update(type=DistilledTwoStageDetector, teacher=teacher,\n'
        + '             distill=dict(roi_logits=dict(type=KDLoss, temperature=1.0)))\n'
    )
    cfg = preflight.load_config(str(path))
    assert cfg.model.type == 'btkd_det.DistilledTwoStageDetector'
    assert list(preflight.build_model(cfg).distill) == ['roi_logits']
    with pytest.raises(ConfigError, match='distilled already'):
        btkd_det.distill(cfg, dict(config='t.py', checkpoint='t.pth'))
    # As a teacher it leaves its own teacher at home, also where its type is a class.
    model = Config.fromfile(path).model
    assert btkd_det.models.Teacher(ConfigDict(model)).model.teacher is None


def test_evaluation_and_the_report_read_it(folder, monkeypatch):
    from btkd_det.preflight import model as model_checks
    from btkd_det.report import rows

    monkeypatch.setattr(preflight, 'check_data', lambda *args: None)
    monkeypatch.setattr(preflight, 'check_samples', lambda *args: None)
    monkeypatch.setattr(model_checks, '_check_class_count', lambda *args: None)
    path = str(folder / 'teacher' / 'teacher.py')
    cfg, model = rows.load(path, str(folder / 'teacher.pth'))
    assert type(model).__name__ == 'FasterRCNN'
    assert cfg.train_dataloader.dataset.type == 'mmdet.CocoDataset'


RAZOR = """
model = dict(
    _scope_='mmrazor',
    type='FpnTeacherDistill',
    architecture=dict(cfg_path='{student}'),
    teacher=dict(cfg_path='{teacher}'),
    teacher_ckpt='teacher.pth',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fpn=dict(type='ModuleOutputs', source='neck')),
        teacher_recorders=dict(fpn=dict(type='ModuleOutputs', source='neck')),
        distill_losses=dict(loss=dict(type='PKDLoss', loss_weight=6)),
        loss_forward_mappings=dict(loss=dict(
            preds_S=dict(from_student=True, recorder='fpn', data_idx=0),
            preds_T=dict(from_student=False, recorder='fpn', data_idx=0)))))
"""


def test_a_translated_config_loads_and_builds(folder, tmp_path):
    paths = {name: folder / name / f'{name}.py' for name in ('student', 'teacher')}
    (tmp_path / 'razor.py').write_text(RAZOR.format(**paths))
    text = convert_config(str(tmp_path / 'razor.py')).text()
    (tmp_path / 'ours.py').write_text(text.replace("'teacher.pth'", f"'{folder / 'teacher.pth'}'"))
    model = preflight.build_model(preflight.load_config(str(tmp_path / 'ours.py')))
    assert list(model.distill) == ['fpn']


def test_what_no_name_finds_stays_as_it_is():
    class Local:
        pass

    node = dict(type=Local, value=[1, 'a', None], kind=torch.nn.Bilinear)
    expected = dict(node, kind='torch.nn.modules.linear.Bilinear')
    assert node_with_names(node) == expected
