"""A Conditional DETR of 30 queries learns shapes, by itself and from its teacher's queries."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, init_default_scope
from mmengine.runner import Runner, set_random_seed

from btkd_det.config import distill
from experiments.demo.shapes import ShapesSpec, make_shapes
from tests.conftest import build_detector

CONFIG = Path(__file__).parents[2] / 'configs' / 'shapes' / 'conditional-detr_r18w8_10e_shapes.py'
SITES = dict(
    query_logits=dict(type='btkd_det.BinaryKDLoss'),
    query_boxes=dict(type='btkd_det.BoxLoss', loss_weight=5.0),
)
SIDE, IMAGES, STEPS, TEACHER_STEPS = 64, 4, 40, 60

pytestmark = pytest.mark.usefixtures('progress')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """The config on a few drawn images, all of them as a batch, and what measures AP on them."""
    folder = tmp_path_factory.mktemp('shapes') / 'set'
    drawn = dict(image_size=SIDE, max_objects=3, empty_share=0.0, crowd_share=0.0)
    make_shapes(folder, ShapesSpec(train=IMAGES, val=1, test=1, **drawn))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SHAPES_ROOT', str(folder))
        cfg = Config.fromfile(CONFIG)
    cfg.train_dataloader.batch_size = IMAGES
    load, annotate, resize, _, pack = cfg.train_dataloader.dataset.pipeline
    resize.scale = (SIDE, SIDE)
    # Without flips, so that what is found lies where the annotation file says.
    cfg.train_dataloader.dataset.pipeline = [load, annotate, resize, pack]
    init_default_scope('mmdet')
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    (batch,) = loader
    ann_file = str(folder / 'annotations' / 'instances_train.json')
    metric = METRICS.build(dict(type='btkd_det.CocoAP', ann_file=ann_file, metric='bbox'))
    metric.dataset_meta = loader.dataset.metainfo
    return cfg, batch, metric


@pytest.fixture(scope='module')
def teacher(shapes, tmp_path_factory):
    """A checkpoint of the same model after more steps of its own, and its AP."""
    cfg, batch, metric = shapes
    set_random_seed(1)
    model = build_detector(cfg.model)
    train(model, batch, own, TEACHER_STEPS)
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path, average_precision(model, batch, metric)


def total(losses, key):
    """The sum of what is logged with this in its name."""
    return sum(
        sum(part) if isinstance(part, list) else part
        for name, part in losses.items()
        if key in name and 'loss' in name
    )


def own(losses):
    return total(losses, 'loss') - total(losses, 'distill')


def train(model, batch, chosen, steps):
    """The student's own losses and the distilled ones of each step that descends on some."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    logged = []
    for _ in range(steps):
        data = model.data_preprocessor(copy.deepcopy(batch), training=True)
        losses = model(**data, mode='loss')
        optimizer.zero_grad()
        chosen(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        parts = dict(own=own(losses), distilled=total(losses, 'distill'))
        logged.append({key: float(torch.as_tensor(value).detach()) for key, value in parts.items()})
    return logged


@torch.no_grad()
def average_precision(model, batch, metric):
    """AP on the images of the training."""
    outputs = model.eval().val_step(copy.deepcopy(batch))
    metric.results.clear()
    metric.process({}, [sample.to_dict() for sample in outputs])
    (value,) = (v for k, v in metric.evaluate(IMAGES).items() if k.endswith('bbox_AP'))
    return value


def learn(shapes, teacher, chosen):
    """What a student logs and its AP before and after."""
    cfg, batch, metric = shapes
    found = distill(copy.deepcopy(cfg), dict(config=cfg, checkpoint=str(teacher)), 'kd')
    found.model.distill = copy.deepcopy(SITES)
    set_random_seed(0)
    model = build_detector(found.model)
    before = average_precision(model, batch, metric)
    logged = train(model, batch, chosen, STEPS)
    return logged, before, average_precision(model, batch, metric)


def test_loss_and_ap_move_and_what_is_distilled_falls_further_than_without(shapes, teacher):
    path, teacher_ap = teacher
    assert teacher_ap > 0.4
    alone, before, alone_ap = learn(shapes, path, own)
    distilled, _, ap = learn(shapes, path, lambda losses: total(losses, 'loss'))
    assert distilled[0] == alone[0]
    assert before < 0.05
    assert ap > 0.05 + before
    assert distilled[-1]['own'] < 0.7 * distilled[0]['own']
    assert distilled[-1]['distilled'] < 0.5 * distilled[0]['distilled']
    assert distilled[-1]['distilled'] < 0.9 * alone[-1]['distilled']
