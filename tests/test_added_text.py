"""What a command says can be used as it stands: the lines of ``--distill``, paths, quiet."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import btkd_det
from btkd_det.config import added_text, count_classes
from btkd_det.config.reading import read_config

from .conftest import build_detector, tiny_faster_rcnn

ROOT = Path(__file__).parents[1]
DINO = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'
RTMDET = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
PLAIN = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'


@pytest.mark.parametrize(
    ('plain', 'preset'),
    [(PLAIN, 'ikd'), (PLAIN, 'btkd-pkd'), (DINO, 'feature'), (RTMDET, 'btkd')],
)
def test_the_printed_lines_follow_the_plain_config(plain, preset, tmp_path):
    cfg = btkd_det.distill(plain, dict(config=PLAIN, checkpoint='my teacher.pth'), preset)
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {plain!r}\n{added_text(cfg)}')
    mine = read_config(path, 'test')
    assert mine.model.to_dict() == cfg.model.to_dict()
    assert 'btkd_det' in mine.custom_imports.imports


def test_paths_may_be_paths(tmp_path):
    checkpoint, path = tmp_path / 'teacher.pth', tmp_path / 'teacher.py'
    model = tiny_faster_rcnn()
    torch.save(build_detector(model).state_dict(), checkpoint)
    Config(dict(model=model, default_scope='mmdet')).dump(path)
    teacher = btkd_det.models.Teacher(path, checkpoint)
    assert type(teacher.model).__name__ == 'FasterRCNN'
    plain = dict(model=model, default_scope='mmdet')
    cfg = btkd_det.distill(plain, dict(config=path, checkpoint=checkpoint), 'kd')
    cfg.dump(tmp_path / 'distilled.py')
    again = read_config(tmp_path / 'distilled.py', 'test')
    assert again.model.teacher == dict(config=str(path), checkpoint=str(checkpoint))
    text = f'_base_ = []\nfrom pathlib import Path\nwhere = Path({str(path)!r})\n'
    (tmp_path / 'own.py').write_text(text)
    assert read_config(tmp_path / 'own.py', 'test').where == str(path)


def test_nobody_hears_of_a_package_that_is_not_public():
    code = 'import btkd_det, mmdet.datasets.transforms, importlib.util as u\n'
    code += 'u.find_spec("mmpretrain") and __import__("mmpretrain.datasets")\n'
    code += 'from mmengine.logging import print_log; print_log("else", level=10)'
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert 'OneDL' not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == 'else'


LENET = dict(
    type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=10), head=dict(type='ClsHead')
)


def test_classes_of_a_head_without_a_number_are_counted():
    data = dict(dataset=dict(type='CustomDataset', data_root='d', classes=['a', 'b', 'c']))
    for model, count in (
        (LENET, 10),
        (dict(LENET, backbone=dict(type='VGG', depth=11)), 3),
        (dict(LENET, head=dict(type='LinearClsHead', num_classes=7)), 7),
    ):
        cfg = Config(dict(model=model, train_dataloader=data, default_scope='mmpretrain'))
        assert count_classes(cfg) == count
    cfg = Config(dict(model=LENET, default_scope='mmpretrain'))
    cfg = btkd_det.distill(cfg, dict(config=LENET, checkpoint='t.pth'), 'ikd')
    assert cfg.model.distill.logits[1].num_classes == 10
    assert 'num_classes' not in cfg.model.head


def test_a_classifier_without_a_number_of_classes_is_walked_through():
    pytest.importorskip('mmpretrain')
    from mmengine.registry import DefaultScope
    from mmpretrain.structures import DataSample

    from btkd_det.report.rows import walk

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(LENET, data_preprocessor=dict(mean=[0.0], std=[1.0])))
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    batch = dict(inputs=torch.rand(4, 1, 32, 32), data_samples=samples)
    [(_, [rows])] = list(walk(model, [batch]))
    assert rows.logits.shape == (4, 10)
    assert rows.labels.tolist() == [0, 1, 2, 3]
