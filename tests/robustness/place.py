"""A small data set with a config, that a case can spoil."""

import contextlib
import functools
import io
import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

CONFIG = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
data_root = 'DATA/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('square', 'bar')),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('square', 'bar')),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
optim_wrapper = dict(optimizer=dict(lr=0.002))
randomness = dict(seed=0)
model = dict(
    backbone=dict(
        depth=18,
        base_channels=4,
        stem_channels=4,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=16, num_classes=2),
    ),
    train_cfg=dict(
        rcnn=dict(sampler=dict(num=16)), rpn_proposal=dict(nms_pre=100, max_per_img=50)
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(max_per_img=10)),
)
"""


@functools.cache
def flat_config() -> str:
    """The config with its base in it, so that a case costs no reading of MMDetection's files."""
    with contextlib.redirect_stdout(io.StringIO()):
        cfg = Config.fromstring(CONFIG, file_format='.py')
    return cfg.pretty_text


@functools.cache
def pixels():
    """Six images (64, 80, 3), a square or a bar in each, and their boxes."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for i in range(6):
        image = rng.integers(0, 60, (64, 80, 3), dtype=np.uint8)
        w, h = (24, 24) if i % 2 == 0 else (40, 12)
        x, y = int(rng.integers(0, 80 - w)), int(rng.integers(0, 64 - h))
        image[y : y + h, x : x + w] = (250, 200, 40) if i % 2 == 0 else (40, 120, 250)
        images.append(image)
        boxes.append([x, y, w, h])
    return images, boxes


class Place:
    """Data and a config in a folder: what a case changes before it is trained on.

    Attributes:
        folder (Path): Everything lies in it; the data in ``data``.
        train (dict): Content of ``train.json``, four images with a box each.
        val (dict): Content of ``val.json``, two images.
        raw (dict[str, bytes]): Files that are written as they are, in place of the above.
        lines (list[str]): Python at the end of the config.
        args (list[str]): The command line behind the config.
        env (dict[str, str]): Environment variables.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.data = folder / 'data'
        self.images = self.data / 'images'
        self.images.mkdir(parents=True)
        images, boxes = pixels()
        for i, image in enumerate(images):
            Image.fromarray(image).save(self.images / f'{i}.png')
        self.train = _coco(range(4), boxes)
        self.val = _coco(range(4, 6), boxes)
        self.raw = {}
        self.lines = []
        self.args = []
        self.env = {}

    def write(self) -> list:
        """Write everything; gives the command line."""
        for name in ('train', 'val'):
            path = self.data / f'{name}.json'
            content = self.raw.get(path.name)
            if content is None:
                content = json.dumps(getattr(self, name)).encode()
            if content is not False:
                path.write_bytes(content)
        text = flat_config().replace('DATA/', f'{self.data}/')
        (self.folder / 'config.py').write_text('\n'.join([text, *self.lines, '']))
        return [self.folder / 'config.py', *self.args]


def _coco(ids, boxes):
    return dict(
        images=[dict(id=i, file_name=f'{i}.png', width=80, height=64) for i in ids],
        annotations=[
            dict(
                id=i + 1,
                image_id=i,
                category_id=i % 2 + 1,
                bbox=list(boxes[i]),
                area=boxes[i][2] * boxes[i][3],
                iscrowd=0,
            )
            for i in ids
        ],
        categories=[dict(id=1, name='square'), dict(id=2, name='bar')],
    )
