"""A small detector with data of its own, for the commands that walk through a model's rows."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ..conftest import build_detector, tiny_faster_rcnn


@pytest.fixture
def detector():
    return build_detector(tiny_faster_rcnn())


@pytest.fixture
def folder(tmp_path, detector):
    """A config with four images, and a checkpoint."""
    categories = [dict(id=i, name=name) for i, name in enumerate(('cat', 'dog', 'hen'))]
    images, annotations = [], []
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=80, height=64))
        box = dict(bbox=[8 * i, 8, 32, 40], area=1280, iscrowd=0)
        annotations.append(dict(id=i + 1, image_id=i, category_id=i % 3, **box))
    text = json.dumps(dict(images=images, annotations=annotations, categories=categories))
    (tmp_path / 'train.json').write_text(text)
    dataset = dict(
        type='CocoDataset',
        data_root=f'{tmp_path}/',
        ann_file='train.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=('cat', 'dog', 'hen')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_shape', 'scale_factor')),
        ],
    )
    loader = dict(batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler'))
    cfg = dict(default_scope='mmdet', model=tiny_faster_rcnn(), train_dataloader=loader)
    Config(cfg).dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=detector.state_dict()), tmp_path / 'teacher.pth')
    return tmp_path
