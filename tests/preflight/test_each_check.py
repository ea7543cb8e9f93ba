"""Each check of the preflight by itself: what it refuses, and that it lets what is right pass."""

import types
from collections import Counter
from xml.etree import ElementTree

import pytest
import torch
from mmengine.config import Config
from torch import nn

from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.preflight import (
    datasets,
    model,
    parts,
    registries,
    rehearsal,
    settings,
    training,
    voc,
    weights,
)
from btkd_det.preflight.loaders import _Stand, check_loader


@pytest.fixture
def cfg():
    return read_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'test')


def refuses(*words):
    return pytest.raises(ConfigError, match='(?s)' + '.*'.join(words))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(custom_hooks=dict(type='EMAHook')), ['custom_hooks', 'a list of hooks']),
        (dict(custom_hooks=['EMAHook']), [r'custom_hooks\[0\]', 'EMAHook', r'dict\(type']),
        (dict(default_hooks=['x']), ['default_hooks', 'a dict of hooks']),
        (dict(default_hooks=dict(timer=3)), [r'default_hooks\.timer', '3']),
    ],
)
def test_hooks_of_another_kind(cfg, changes, words):
    cfg._cfg_dict.update(changes)
    with refuses(*words):
        parts.check_hooks(cfg, nn.Linear(2, 2))


@pytest.mark.parametrize('place', ['visualizer', 'vis_backends'])
def test_a_key_that_the_visualizer_does_not_take(cfg, place):
    parts.check_visualizer(cfg)
    node = cfg.visualizer if place == 'visualizer' else cfg.visualizer.vis_backends[0]
    node['save_dirr'] = 'x'
    with refuses('visualizer', 'save_dirr', 'save_dir'):
        parts.check_visualizer(cfg)


def test_an_evaluator_without_its_file_or_with_a_wrong_key(cfg, tmp_path):
    file = tmp_path / 'val.json'
    file.write_text('{}')
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = str(file)
    parts.check_evaluators(cfg)
    cfg.val_evaluator.metrc = 'bbox'
    with refuses('val_evaluator', 'metrc', 'metric'):
        parts.check_evaluators(cfg)
    del cfg.val_evaluator['metrc']
    cfg.val_evaluator.ann_file = 'no.json'
    with refuses(r'val_evaluator\.ann_file', 'no.json'):
        parts.check_evaluators(cfg)


def test_a_head_of_another_number_of_classes():
    detector = nn.Module()
    detector.bbox_head = nn.Module()
    detector.bbox_head.num_classes = 3
    model._check_class_count(detector, ('a', 'b', 'c'))
    with refuses(r'model\.bbox_head\.num_classes: 3', '2 classes', 'valid: 2'):
        model._check_class_count(detector, ('a', 'b'))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(custom_imports=dict(imports=['not_there_at_all'])), ['not_there_at_all']),
        (dict(launcher='slurm'), ['launcher']),
        (dict(log_level='LOUD'), ['log_level', 'LOUD']),
        (dict(train_cfg=None), ['train_cfg']),
    ],
)
def test_the_surroundings_of_a_training(cfg, tmp_path, monkeypatch, changes, words):
    for name in ('SLURM_PROCID', 'SLURM_NTASKS'):
        monkeypatch.delenv(name, raising=False)
    cfg.work_dir = str(tmp_path)
    training.check_surroundings(cfg)
    for key, value in changes.items():
        cfg[key] = value
    with refuses(*words):
        training.check_surroundings(cfg)


def test_a_work_dir_that_is_a_file(cfg, tmp_path):
    file = tmp_path / 'file'
    file.write_text('')
    cfg.work_dir = str(file)
    with refuses('work_dir', 'file'):
        training.check_surroundings(cfg)


@pytest.mark.parametrize(
    ('init', 'words'),
    [
        (dict(type='Pretraind', checkpoint='x.pth'), [r'model\.backbone\.init_cfg', 'Pretrained']),
        (dict(type='Pretrained', checkpoint='no.pth'), ['init_cfg.checkpoint', 'no.pth']),
        ([dict(type='Kaimin', layer='Conv2d')], ['init_cfg', 'Kaiming']),
    ],
)
def test_initializers(init, words):
    right = dict(type='Pretrained', checkpoint='torchvision://resnet50')
    training._check_initializers(dict(backbone=dict(init_cfg=right)), 'model', 'mmdet')
    with refuses(*words):
        training._check_initializers(dict(backbone=dict(init_cfg=init)), 'model', 'mmdet')


def test_initial_weights_are_read(tmp_path):
    file = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(a=torch.zeros(1))), file)
    node = dict(neck=[dict(init_cfg=dict(type='Pretrained', checkpoint=str(file)))])
    weights._check_pretrained(node, 'model')
    file.write_text('no checkpoint')
    with refuses(r'model\.neck\.0\.init_cfg\.checkpoint', 'weights.pth'):
        weights._check_pretrained(node, 'model')


def test_a_loss_that_is_no_number_from_the_first_sample_on():
    cfg = Config(dict())
    rehearsal._check_finite(cfg, dict(loss_cls=torch.tensor(1.0)))
    for value in (torch.tensor(float('nan')), [torch.tensor(1.0), torch.tensor(float('inf'))]):
        with refuses('loss_bbox', 'infinite or no number'):
            rehearsal._check_finite(cfg, dict(loss_cls=torch.tensor(1.0), loss_bbox=value))
    # Other weights may have a better one.
    rehearsal._check_finite(Config(dict(load_from='x')), dict(loss=torch.tensor(float('nan'))))


def test_masks_are_evaluated_where_there_are_any():
    boxes = [dict(pred_instances=dict(bboxes=0))]
    rehearsal._check_masks(dict(metric=['bbox']), boxes, 'val_evaluator')
    with refuses(r'val_evaluator\.metric', 'segm', 'no masks'):
        rehearsal._check_masks(dict(metric=['bbox', 'segm']), boxes, 'val_evaluator')


class OneLoss(nn.Module):
    """A model whose loss is what it is told."""

    def __init__(self, loss):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.loss = loss

    def data_preprocessor(self, data, training):
        return data

    def _run_forward(self, data, mode):
        if self.loss is None:
            raise ValueError('the model does not take this')
        return dict(loss=self.weight * self.loss)


@pytest.mark.parametrize(
    ('loss', 'words'), [(float('nan'), ['model: loss']), (None, ['pipeline', 'does not take this'])]
)
def test_the_loss_of_a_sample_is_tried(loss, words):
    cfg = Config(dict(model=dict(), train_dataloader=dict(collate_fn=dict(type='pseudo_collate'))))
    found = dict(train_dataloader=types.SimpleNamespace(samples=[(dict(inputs=1), {})]))
    rehearsal.check_step(cfg, OneLoss(1.0), found)
    with refuses(*words):
        rehearsal.check_step(cfg, OneLoss(loss), found)


@pytest.mark.parametrize(
    ('scope', 'words'), [('mmdett', ['default_scope', 'mmdett', 'mmdet']), ('no_such', ['valid'])]
)
def test_scopes(scope, words):
    registries.check_scope('mmdet')
    with refuses(*words):
        registries.check_scope(scope)


def test_types_of_a_config_are_looked_up(cfg):
    registries.check_types(cfg)
    cfg.optim_wrapper.optimizer.type = 'SDG'
    with refuses(r'optim_wrapper\.optimizer\.type', 'SDG', 'SGD'):
        registries.check_types(cfg)


def test_a_type_within_a_model_is_named():
    config = dict(type='FasterRCNN', necks=[dict(type='FPNN')])
    error = KeyError('FPNN is not in the model registry')
    with refuses(r'model\.necks\[0\]\.type', 'FPNN', 'FPN'):
        registries.explain_type(config, 'model', 'mmdet', error)
    registries.explain_type(dict(type='FasterRCNN'), 'model', 'mmdet', error)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(randomness=dict(sed=0)), ['randomness', 'sed', 'seed']),
        (dict(randomness=dict(deterministic=True)), ['randomness', "'seed'"]),
        (dict(randomness=dict(seed=-1)), [r'randomness\.seed', '-1']),
        (dict(auto_scale_lr=dict(enable=True)), ['auto_scale_lr.base_batch_size']),
        (dict(auto_scale_lr=dict(enable=True, base_batch_size=0)), ['base_batch_size', '0']),
        (dict(env_cfg=dict(resource_limit='many')), ['env_cfg.resource_limit']),
        (dict(log_level='LOUD'), ['log_level', 'LOUD', 'INFO']),
        (dict(log_processor=dict(windw=3)), ['log_processor', 'windw', 'window']),
    ],
)
def test_settings(changes, words):
    settings.check_settings(Config(dict(default_scope='mmdet', randomness=dict(seed=0))))
    with refuses(*words):
        settings.check_settings(Config(dict(default_scope='mmdet', **changes)))


def test_classes_of_a_voc_data_set(said):
    voc._check_names(Counter(cat=2, dog=1), ('cat', 'dog'), 'F', 'folder', 'list.txt')
    assert not said
    with refuses(r'F\.ann_file: list\.txt', 'no object'):
        voc._check_names(Counter(), ('cat',), 'F', 'folder', 'list.txt')
    with refuses(r'F\.metainfo\.classes', 'cat', 'called dog'):
        voc._check_names(Counter(dog=1), ('cat',), 'F', 'folder', 'list.txt')
    voc._check_names(Counter(cat=2, dog=1), ('cat',), 'F', 'folder', 'list.txt')
    assert '1 of 3 objects' in said[0]


@pytest.mark.parametrize(
    ('pipeline', 'words'),
    [
        ('Resize', [r'F\.pipeline', 'Resize', 'a list of transforms']),
        ([3], [r'F\.pipeline\[0\]', '3']),
        ([dict(type='RandomFlip', probb=0.5)], [r'F\.pipeline\[0\]', 'probb']),
    ],
)
def test_a_pipeline_is_a_list_of_transforms(pipeline, words):
    datasets._check_pipeline(dict(pipeline=[dict(type='RandomFlip', prob=0.5), len]), 'F', 'mmdet')
    with refuses(*words):
        datasets._check_pipeline(dict(pipeline=pipeline), 'F', 'mmdet')


def test_what_data_sets_hold_adds_up():
    total = types.SimpleNamespace(length=1, boxes=2, samples=[])
    datasets._count(total, 3, 4, ('sample', {}))
    datasets._count(total, 1, 1, None)
    assert (total.length, total.boxes, total.samples) == (5, 7, [('sample', {})])
    unknown = types.SimpleNamespace(length=None, boxes=0, samples=[])
    datasets._count(unknown, 3, 4, None)
    assert unknown.length is None


def test_a_loader_is_built_around_nothing():
    """A sampler may ask how many there are, and nobody may read one."""
    loader = dict(batch_size=2, sampler=dict(type='DefaultSampler'), dataset={})
    assert check_loader(loader, 'F', 'mmdet', 4) == 2
    with pytest.raises(IndexError):
        _Stand(4)[0]


def test_an_evaluator_is_tried_on_a_prediction():
    cfg = Config(dict(default_scope='mmdet', val_evaluator=dict(type='VOCMetric')))
    sample = dict(inputs=torch.zeros(3, 8, 8))
    nothing = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long())
    truth = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    whole = dict(gt_instances=truth, ignored_instances=truth, pred_instances=nothing)
    metainfo = dict(classes=('cat',))
    rehearsal._check_evaluators(cfg, sample, [whole], metainfo)
    with refuses(r'val_dataloader\.dataset\.pipeline', 'gt_instances'):
        rehearsal._check_evaluators(cfg, sample, [dict(pred_instances=nothing)], metainfo)


@pytest.mark.parametrize(
    ('loader', 'length', 'boxes', 'refused'),
    [
        ('train_dataloader', 0, 0, True),
        ('train_dataloader', 3, 0, True),
        ('train_dataloader', 3, 1, False),
        ('val_dataloader', 0, 0, True),
        ('val_dataloader', 3, 0, False),
        # Where nobody knows how many there are.
        ('train_dataloader', None, None, False),
    ],
)
def test_a_loader_of_nothing(loader, length, boxes, refused, said):
    total = types.SimpleNamespace(length=length, boxes=boxes, details=['no box of the 3 images'])
    if refused:
        with refuses(rf'{loader}\.dataset: nothing is left to use: no box of the 3 images'):
            datasets._nothing_left(total, loader)
        assert not said
    else:
        datasets._nothing_left(total, loader)
        assert said == [f'{loader}.dataset: no box of the 3 images']


@pytest.mark.parametrize('text', ['wide', '', '1e400', 'nan'])
def test_a_number_of_an_xml_file(text):
    box = ElementTree.fromstring('<bndbox><xmin>3.5</xmin></bndbox>')
    convert = lambda found: int(float(found))
    voc._number(box, 'xmin', convert)
    box.find('xmin').text = text
    with refuses('xmin', 'bndbox', 'valid'):
        voc._number(box, 'xmin', convert)
