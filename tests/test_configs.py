"""Every config loads, builds its model with weights left out, and runs one loss step."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, METRICS, MODELS, init_default_scope
from torch import nn

from btkd_det.registry import check_keys

from .conftest import detection_batch

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Scope of a config -> what its model needs beside the detection packages.
EXTRA_PACKAGES = {'mmpretrain': 'classification', 'mmrazor': 'mmrazor'}


@pytest.fixture(
    scope='module', params=CONFIGS, ids=lambda path: path.relative_to(ROOT / 'configs').as_posix()
)
def cfg(request):
    cfg = read_or_skip(request.param)
    for package, extra in EXTRA_PACKAGES.items():
        if package in (cfg.default_scope, request.param.parent.name) and not installed(package):
            pytest.skip(f'{package} is not installed: pip install btkd_det[{extra}]')
    init_default_scope(cfg.default_scope)
    return cfg


def read_or_skip(path):
    """A config whose backbone needs MMPretrain and timm is of use where both are installed."""
    try:
        cfg = Config.fromfile(path)
    except ImportError as error:
        if installed('mmpretrain'):
            raise
        pytest.skip(f'{error}: pip install btkd_det[classification]')
    if 'TIMMBackbone' in cfg.pretty_text and not installed('timm'):
        pytest.skip('timm is not installed: pip install timm')
    return cfg


def scoped(name, cfg):
    return name if '.' in name else f'{cfg.default_scope}.{name}'


def installed(package):
    return importlib.util.find_spec(package) is not None


def without_weights(node):
    """Leave out, in place, all that a model would read from a file or the net."""
    if isinstance(node, dict):
        init = node.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            node['init_cfg'] = None
        for key, value in node.items():
            if key in ('checkpoint', 'teacher_ckpt') and isinstance(value, str):
                node[key] = None
            elif key == 'pretrained' and 'cfg_path' in node:
                node[key] = False
            without_weights(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            without_weights(value)


def with_few_rois(model_cfg):
    """Sample few RoIs, in place: most of a step's time goes by their number."""
    rcnn = (model_cfg.get('train_cfg') or {}).get('rcnn')
    for stage in rcnn if isinstance(rcnn, list) else [rcnn] if rcnn else []:
        stage['sampler']['num'] = 16


def find_num_classes(node):
    """The largest ``num_classes`` anywhere in a model's config."""
    if isinstance(node, dict):
        found = [find_num_classes(value) for value in node.values()]
        return max([node.get('num_classes') or 0, *found])
    if isinstance(node, (list, tuple)):
        return max(map(find_num_classes, node), default=0)
    return 0


def batch_for(cfg, num_classes):
    """Two small images as the config's own pipeline would pack them."""
    if cfg.default_scope != 'mmpretrain':
        return detection_batch(sizes=((96, 128), (80, 64)), num_classes=num_classes)
    from mmpretrain.structures import DataSample

    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, num_classes, (4,))
    return dict(inputs=list(images), data_samples=[DataSample().set_gt_label(y) for y in labels])


def build_model(cfg):
    model_cfg = copy.deepcopy(cfg.model)
    without_weights(model_cfg)
    with_few_rois(model_cfg)
    if 'data_preprocessor' in cfg:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(0)
    return MODELS.build(model_cfg)


def loss_step(model, batch):
    """One forward and backward pass as the runner does it, a quarter of the training done."""
    hub = MessageHub.get_instance('test_configs')
    hub.update_info('iter', 25)
    hub.update_info('epoch', 1)
    hub.update_info('max_iters', 100)
    hub.update_info('max_epochs', 4)
    model.train()
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    total, log_vars = model.parse_losses(losses)
    total.backward()
    return total, log_vars


def test_there_are_configs():
    assert len(CONFIGS) > 10


def test_builds_and_runs_a_loss_step(cfg):
    model = build_model(cfg)

    total, log_vars = loss_step(model, batch_for(cfg, find_num_classes(cfg.model)))

    assert torch.isfinite(total)
    assert total > 0
    trained = [p for p in model.parameters() if p.requires_grad]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    terms = [name for name in log_vars if name.startswith('distill.') and '.loss_' in name]
    for site, losses in (cfg.model.get('distill') or {}).items():
        count = len(losses) if isinstance(losses, (list, tuple)) else 1
        assert sum(name.startswith(f'distill.{site}.') for name in terms) == count
    teacher = getattr(model, 'teacher', None)
    if isinstance(teacher, nn.Module):
        assert not any(p.requires_grad for p in teacher.parameters())


def test_builds_what_stands_beside_the_model(cfg):
    """Data sets without reading them, with their pipelines; evaluators' keys; the optimizer."""
    for loader in LOADERS:
        if cfg.get(loader) is None:
            continue
        dataset = copy.deepcopy(cfg[loader].dataset)
        if issubclass(DATASETS.get(scoped(dataset.type, cfg)), BaseDataset):
            assert DATASETS.build(dataset | dict(lazy_init=True)).pipeline.transforms
    for evaluator in (cfg.get('val_evaluator'), cfg.get('test_evaluator')):
        for metric in evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]:
            args = {k: v for k, v in metric.items() if k not in ('type', '_scope_')}
            check_keys(METRICS.get(scoped(metric.type, cfg)), args, 'evaluator')
    wrapper = build_optim_wrapper(nn.Linear(2, 2), cfg.optim_wrapper)
    assert wrapper.optimizer.param_groups


def test_is_listed_in_the_readme_of_its_folder(cfg):
    path = Path(cfg.filename)

    assert f'({path.name})' in (path.parent / 'README.md').read_text(encoding='utf-8')


def test_imports_btkd_det_where_it_needs_it(cfg):
    """A distilled config also trains with the host's own tools, which do not import btkd_det."""
    if 'btkd_det.' in str(cfg.model.to_dict()):
        assert any(name.startswith('btkd_det') for name in cfg.custom_imports['imports'])


@pytest.mark.parametrize(
    ('variable', 'name'),
    [
        ('COCO_ROOT', 'coco/btkd_faster-rcnn_r18-r101_fpn_1x_coco.py'),
        ('BCCD_ROOT', 'bccd/btkd_faster-rcnn_r18w8-r34w32_fpn_20e_bccd.py'),
    ],
)
def test_one_environment_variable_moves_all_data(variable, name, monkeypatch):
    monkeypatch.setenv(variable, '/elsewhere')

    cfg = Config.fromfile(ROOT / 'configs' / name)

    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere/'
    for split in ('val', 'test'):
        assert cfg[f'{split}_evaluator'].ann_file.startswith('/elsewhere/')


@pytest.mark.parametrize('student', ['r18-r101', 'r50-r101', 'mobilenetv2-r50'])
def test_coco_methods_differ_in_the_loss_alone(student):
    plain, kd, btkd = (
        Config.fromfile(ROOT / f'configs/coco/{name}_fpn_1x_coco.py').to_dict()
        for name in (
            f'faster-rcnn_{student.partition("-")[0]}',
            f'kd_faster-rcnn_{student}',
            f'btkd_faster-rcnn_{student}',
        )
    )

    losses = [cfg['model'].pop('distill')['roi_logits'] for cfg in (kd, btkd)]
    assert losses[1]['loss'] == losses[0]
    assert kd == btkd
    for key in ('teacher', 'type'):
        kd['model'].pop(key)
    plain['model'].pop('type')
    kd.pop('custom_imports')
    assert kd == plain
