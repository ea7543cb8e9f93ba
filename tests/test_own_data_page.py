"""The page on one's own data, followed from the first line to the last, on small drawn files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .robustness.trial import attempt, prepare

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'own_data.md').read_text()
CONFIGS = re.findall(r'```python\n# (mine\w*\.py)[^\n]*\n(.*?)```', PAGE, re.DOTALL)
CLASSES = ('helmet', 'vest')
# A network and images that two cores train in seconds; the rest is the page's.
SMALL = """
model.update(
    backbone=dict(depth=18, base_channels=4, stem_channels=4, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32]))
load_from = None
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
"""
SMALL_CLASSIFIER = """
model.update(backbone=dict(init_cfg=None))
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
"""
TEACHER = ("depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')", 'depth=34')
SHORT = ['train_cfg.max_epochs=1', 'randomness.seed=0', 'default_hooks.logger.interval=1']
RESIZED = [f'{name}_dataloader.dataset.pipeline.{i}.scale=(64,64)' for name, i in
           (('train', 2), ('val', 1), ('test', 1))]  # fmt: skip


@pytest.fixture(scope='module', autouse=True)
def prepared():
    prepare()


def block(number, tail):
    return f'{CONFIGS[number][1]}\n{tail}'


def draw(path, number):
    rng = np.random.default_rng(number)
    image = rng.integers(0, 255, (64, 64, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def draw_coco(folder):
    for split in ('train', 'val'):
        images = [dict(id=i, file_name=f'{i}.jpg', width=64, height=64) for i in range(1, 5)]
        boxes = [
            dict(id=i, image_id=i, category_id=1 + i % 2, bbox=[8, 8, 32, 32], area=1024, iscrowd=0)
            for i in range(1, 5)
        ]
        for image in images:
            draw(folder / split / image['file_name'], image['id'])
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
        path = folder / 'annotations' / f'{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))


def draw_voc(folder):
    root = folder / 'voc'
    for name in ('Annotations', 'ImageSets/Main'):
        (root / name).mkdir(parents=True)
    for i in range(4):
        draw(root / 'JPEGImages' / f'{i}.jpg', i)
        (root / 'Annotations' / f'{i}.xml').write_text(
            '<annotation><size><width>64</width><height>64</height><depth>3</depth></size>'
            f'<object><name>{CLASSES[i % 2]}</name><difficult>0</difficult><bndbox><xmin>8</xmin>'
            '<ymin>8</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>'
        )
    for split in ('train', 'val'):
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('0\n1\n2\n3\n')


def draw_folders(folder):
    for split in ('train', 'val'):
        for name in CLASSES:
            for i in range(2):
                draw(folder / split / name / f'{i}.jpg', i)


def train(folder, *arguments):
    """What ``tools/train.py`` prints; the child is forked, so that it need not import anew."""
    outcome = attempt(arguments, folder)
    assert outcome.code == 0, outcome.text[-3000:]
    return outcome.text


def test_the_page_has_the_configs_that_are_tried_here():
    assert [name for name, _ in CONFIGS] == ['mine.py'] * 3 + ['mine_teacher.py']


def test_coco_with_a_teacher(tmp_path):
    draw_coco(tmp_path / 'data' / 'mine')
    (tmp_path / 'mine.py').write_text(block(0, SMALL))
    (tmp_path / 'mine_teacher.py').write_text(block(3, '').replace(*TEACHER))
    options = ['--cfg-options', *SHORT, *RESIZED]

    train(tmp_path, 'mine_teacher.py', '--work-dir', 'work_dirs/teacher', *options)
    said = train(
        *(tmp_path, 'mine.py', '--work-dir', 'work_dirs/student', '--distill', 'btkd'),
        *('--teacher-config', 'mine_teacher.py'),
        *('--teacher-checkpoint', 'work_dirs/teacher/epoch_1.pth', *options),
    )

    assert 'distill.roi_logits.loss_btkd' in said
    assert 'coco/bbox_mAP' in said


def test_voc(tmp_path):
    draw_voc(tmp_path / 'data' / 'mine')
    (tmp_path / 'mine.py').write_text(block(1, SMALL))

    said = train(tmp_path, 'mine.py', '--cfg-options', *SHORT, *RESIZED)

    assert 'pascal_voc/mAP' in said
    assert re.findall(r'^\| (\w+) +\| \d', said, re.MULTILINE) == list(CLASSES)
    assert 'default evaluate mode' not in said


@pytest.mark.parametrize(('number', 'drawn'), [(0, draw_coco), (1, draw_voc)])
def test_a_small_model_in_the_place_of_the_base(number, drawn, tmp_path):
    drawn(tmp_path / 'data' / 'mine')
    (small,) = set(re.findall(r'`(btkd_det::shapes/.*?)`', PAGE))
    text = re.sub(r"_base_ = '.*?'", f"_base_ = '{small}'", block(number, 'load_from = None\n'))
    (tmp_path / 'mine.py').write_text(text)

    said = train(tmp_path, 'mine.py', '--cfg-options', *SHORT)

    assert ('coco/bbox_mAP' if number == 0 else 'pascal_voc/mAP') in said


def test_class_folders(tmp_path):
    draw_folders(tmp_path / 'data' / 'mine')
    (tmp_path / 'mine.py').write_text(block(2, SMALL_CLASSIFIER))

    said = train(tmp_path, 'mine.py', '--cfg-options', *SHORT)

    assert 'accuracy/top1' in said
