"""No file is executed that a config names, wherever in it, by whatever address."""

import functools
import http.server
import itertools
import os
import runpy
import sys
import threading
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, initialize
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from torch import nn

from btkd_det import preflight
from btkd_det.checkpoint import read_checkpoint, weights_only
from btkd_det.errors import ConfigError
from btkd_det.models.teacher import Teacher
from experiments.demo.detections import load_detector
from tests.single_stage import tiny

TOOLS = Path(__file__).parents[2] / 'tools'
WAYS = ('local', 'http', 'torchvision', 'open-mmlab', 'mmcls')


class Touch:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@MODELS.register_module()
class ReadsWhileBuilt(BaseModel):
    """As MMDetection's and MMRazor's models with a teacher do."""

    def __init__(self, source, data_preprocessor=None):
        super().__init__(data_preprocessor)
        load_checkpoint(self, source, map_location='cpu')

    def forward(self, inputs):
        return inputs


@MODELS.register_module()
class HoldsAModel(BaseModel):
    def __init__(self, inner, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.inner = MODELS.build(inner)

    def forward(self, inputs):
        return inputs


class Site(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A file that leaves a trace when it is executed: its addresses by the way, and the trace."""
    folder, trace = tmp_path / 'site', tmp_path / 'executed'
    folder.mkdir()
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Touch(trace)}, folder / 'evil.pth')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    handler = functools.partial(Site, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/evil.pth'
        for zoo in ('torchvision', 'external', 'mmcls'):
            listing = f'mmengine.runner.checkpoint.get_{zoo}_models'
            monkeypatch.setattr(listing, lambda: {'evil': address})
        sources = {way: f'{way}://evil' for way in WAYS}
        yield sources | {'local': str(folder / 'evil.pth'), 'http': address}, trace
        server.shutdown()


def of_mmdetection(source):
    """MMDetection's own distillation, whose teacher reads its checkpoint while it is built."""
    student = tiny('RetinaNet')
    student.update(
        type='mmdet.KnowledgeDistillationSingleStageDetector',
        teacher_config=dict(model=tiny('RetinaNet')),
        teacher_ckpt=source,
    )
    return student


def reads(source):
    return dict(type='ReadsWhileBuilt', source=source)


def nested(source):
    return dict(type='HoldsAModel', inner=dict(type='HoldsAModel', inner=reads(source)))


def build_detector_to_look_at(model):
    cfg = Config(dict(model=model))
    cfg.dump('config.py')
    load_detector('config.py', 'no.pth')


def check_agreement(model):
    evaluator = dict(type='btkd_det.TeacherAgreement', teacher=dict(config=model))
    preflight.check_agreement(Config(dict(model={}, test_evaluator=[evaluator])))


BUILDS = {
    'preflight': lambda model: preflight.build_model(Config(dict(model=model))),
    'check': lambda model: preflight.check_model(Config(dict(model=model))),
    'teacher': lambda model: Teacher(model),
    'pictures': build_detector_to_look_at,
    'agreement': check_agreement,
}


@pytest.mark.parametrize('way', WAYS)
def test_no_way_to_a_checkpoint_executes_it(site, way):
    sources, trace = site
    with pytest.raises(ConfigError, match='would have to be executed'):
        preflight.build_model(Config(dict(model=reads(sources[way]))))
    with pytest.raises(ConfigError, match='field: .*evil.* would have to be executed'):
        read_checkpoint(sources[way], 'field')
    model = nn.Linear(1, 1)
    weights = dict(type='Pretrained', checkpoint=sources[way])
    with weights_only(), pytest.raises(ConfigError, match='would have to be executed'):
        initialize(model, weights)
    assert not trace.exists()


@pytest.mark.parametrize(
    ('build', 'model'),
    [
        *itertools.product(BUILDS, [reads, nested]),
        ('check', of_mmdetection),
        ('teacher', of_mmdetection),
    ],
)
@pytest.mark.parametrize('way', ['local', 'http'])
def test_nothing_that_builds_a_model_executes(site, build, model, way, tmp_path, monkeypatch):
    sources, trace = site
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r'evil\.pth is not read'):
        BUILDS[build](model(sources[way]))
    assert not trace.exists()


def test_initial_weights_are_read_before_training(site):
    sources, trace = site
    backbone = dict(init_cfg=dict(type='Pretrained', checkpoint=sources['local']))
    cfg = Config(dict(model=dict(backbone=backbone)))
    with pytest.raises(ConfigError, match=r'^model\.backbone\.init_cfg\.checkpoint: .*evil'):
        preflight.check_weights(cfg, nn.Linear(1, 1))
    assert not trace.exists()


@pytest.mark.parametrize(
    ('tool', 'args'),
    [
        ('train', ['c.py']),
        ('test', ['c.py', 'c.pth']),
        ('bias_report', ['c.py', 'c.pth', '--out', 'out']),
        ('class_means', ['c.py', 'c.pth', '--out', 'out']),
        ('cache_teacher', ['c.py', '--out', 'out']),
    ],
)
def test_all_of_a_command_reads_weights_only(site, tmp_path, monkeypatch, tool, args):
    sources, trace = site

    def load_config(*_):
        load_checkpoint(nn.Linear(1, 1), sources['http'])

    monkeypatch.setattr(preflight, 'load_config', load_config)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *args])
    monkeypatch.setenv('LOCAL_RANK', '0')
    before = dict(os.environ)
    with pytest.raises(SystemExit, match=r'^error: checkpoint: .*evil\.pth is not read'):
        runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
    assert not trace.exists()
    assert dict(os.environ) == before
