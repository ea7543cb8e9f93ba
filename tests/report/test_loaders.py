"""Boxes lie on the objects of the images that the model sees, and every image comes once."""

import copy
import itertools
import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from btkd_det.errors import ConfigError
from btkd_det.report import rows
from btkd_det.report.loaders import one_pass

WHITE = 255
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
PACK = dict(type='PackDetInputs', meta_keys=('img_shape', 'scale_factor', 'flip'))
RESIZE = dict(type='Resize', scale=(160, 128), keep_ratio=False)
FLIP = dict(type='RandomFlip', prob=1.0)
CROP = dict(type='RandomCrop', crop_size=(50, 60), allow_negative_crop=True)


@pytest.fixture
def config(tmp_path):
    """Five images, each with one white rectangle that is annotated."""
    images, annotations = [], []
    for i in range(5):
        x, y, width, height = 12 + 4 * i, 10 + 3 * i, 24, 20
        pixels = np.zeros((64, 80, 3), dtype=np.uint8)
        pixels[y : y + height, x : x + width] = WHITE
        Image.fromarray(pixels).save(tmp_path / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=80, height=64))
        box = dict(bbox=[x, y, width, height], area=width * height, iscrowd=0)
        annotations.append(dict(id=i + 1, image_id=i, category_id=0, **box))
    categories = [dict(id=0, name='box')]
    text = json.dumps(dict(images=images, annotations=annotations, categories=categories))
    (tmp_path / 'val.json').write_text(text)
    dataset = dict(
        type='CocoDataset',
        data_root=f'{tmp_path}/',
        ann_file='val.json',
        data_prefix=dict(img=''),
        test_mode=True,
        metainfo=dict(classes=('box',)),
    )
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    return Config(dict(default_scope='mmdet', val_dataloader=dict(loader, dataset=dataset)))


def samples(config):
    for batch in rows.data(config, 'val_dataloader').batches:
        yield from zip(batch['inputs'], batch['data_samples'], strict=True)


@pytest.mark.parametrize(
    'steps',
    [[RESIZE], [FLIP], [CROP], [RESIZE, FLIP, CROP]],
    ids=['resized', 'flipped', 'cropped', 'all'],
)
@pytest.mark.parametrize('wrapped', [False, True], ids=['plain', 'wrapped'])
def test_boxes_lie_on_the_objects_wherever_the_pipeline_loads_them(config, steps, wrapped):
    dataset = config.val_dataloader.dataset
    dataset.pipeline = [LOAD[0], *steps, LOAD[1], PACK]
    if wrapped:
        config.val_dataloader.dataset = dict(
            type='ConcatDataset', datasets=[copy.deepcopy(dataset)]
        )
    moved = 0
    for image, sample in samples(config):
        boxes = sample.gt_instances.bboxes.tensor
        shown = (image.amax(dim=0) > WHITE // 2).nonzero()
        if not len(shown):
            assert not len(boxes)
            continue
        top, left = shown.amin(dim=0).tolist()
        bottom, right = (shown.amax(dim=0) + 1).tolist()
        found = boxes[0].tolist()
        assert found == pytest.approx([left, top, right, bottom], abs=1)
        moved += abs(found[0] - (12 + 4 * moved)) > 2
    assert moved


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'Endless'])
def test_a_sampler_without_end_gives_one_pass(config, sampler):
    from mmengine.registry import DATA_SAMPLERS

    class Endless:
        def __init__(self, dataset, seed=None):
            self.size = len(dataset)

        def __iter__(self):
            return itertools.cycle(range(self.size))

        def __len__(self):
            return self.size

    DATA_SAMPLERS.register_module(module=Endless, force=True)
    config.val_dataloader.dataset.pipeline = [*LOAD, PACK]
    config.val_dataloader.sampler = dict(type=sampler)
    data = rows.data(config, 'val_dataloader')
    seen = list(itertools.islice(data.batches, 10))
    assert len(seen) == data.count == 3
    if sampler == 'InfiniteSampler':
        lefts = [s.gt_instances.bboxes.tensor[0, 0].item() for b in seen for s in b['data_samples']]
        assert sorted(lefts) == [12, 16, 20, 24, 28]


def test_the_names_of_the_labels_are_those_of_the_file(config):
    """COCO's labels are numbered by the file; the report calls them what they are."""
    path = f'{config.val_dataloader.dataset.data_root}val.json'
    with open(path) as file:
        content = json.load(file)
    content['categories'] = [dict(id=7, name='vest'), dict(id=3, name='helmet')]
    for annotation in content['annotations']:
        annotation['category_id'] = 7
    with open(path, 'w') as file:
        json.dump(content, file)
    dataset = config.val_dataloader.dataset
    dataset.metainfo, dataset.pipeline = dict(classes=('helmet', 'vest')), [*LOAD, PACK]
    data = rows.data(config, 'val_dataloader')
    labels = {
        int(i) for b in data.batches for s in b['data_samples'] for i in s.gt_instances.labels
    }
    assert [data.class_names[label] for label in labels] == ['vest']


def test_the_order_of_the_other_steps_stays():
    steps = [LOAD[0], RESIZE, dict(type='mmdet.LoadAnnotations'), FLIP, PACK]
    given = dict(dataset=dict(pipeline=steps), sampler=dict(type='InfiniteSampler', shuffle=False))
    found = one_pass(given)
    assert found['dataset']['pipeline'] == [LOAD[0], steps[2], RESIZE, FLIP, PACK]
    assert found['sampler'] == dict(type='DefaultSampler', shuffle=False)
    assert given['dataset']['pipeline'] == steps


def test_a_pipeline_without_annotations_is_an_error(config, detector):
    config.val_dataloader.dataset.pipeline = [LOAD[0], PACK]
    with pytest.raises(ConfigError, match='loads no boxes; valid is one with'):
        next(rows.walk(detector, rows.data(config, 'val_dataloader').batches))
