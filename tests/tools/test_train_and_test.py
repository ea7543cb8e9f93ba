"""The commands as a user types them: a teacher, a distilled student, AP, and every wrong input."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from btkd_det import preflight

ROOT = Path(__file__).parents[2]

CONFIG = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
classes = ('square', 'bar')
data_root = '{data}/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
dataset = dict(
    _delete_=True,
    type='CocoDataset',
    data_root=data_root,
    ann_file='train.json',
    data_prefix=dict(img='images/'),
    metainfo=dict(classes=classes),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, batch_sampler=None, dataset=dataset
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=0.002))
randomness = dict(seed=0)
width = {width}
model = dict(
    backbone=dict(
        depth=18,
        base_channels=width,
        stem_channels=width,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[width, 2 * width, 4 * width, 8 * width], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=2),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32)), rpn_proposal=dict(max_per_img=100)),
)
"""

DISTILLED = """
_base_ = './student.py'
custom_imports = dict(imports=['btkd_det'])
model = dict(
    type='btkd_det.DistilledTwoStageDetector',
    teacher=dict(config='{folder}/teacher.py', checkpoint='{folder}/teacher/epoch_2.pth'),
    distill=dict(roi_logits=dict(type='btkd_det.BTKDLoss',
                                 loss=dict(type='btkd_det.KDLoss', temperature=1.0))),
)
"""


def write_data(folder):
    """Eight images with a bright square or bar each, and COCO annotations of them."""
    (folder / 'images').mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(8):
        pixels = rng.integers(0, 60, (64, 80, 3), dtype=np.uint8)
        label = i % 2
        w, h = (24, 24) if label == 0 else (40, 12)
        x, y = int(rng.integers(0, 80 - w)), int(rng.integers(0, 64 - h))
        pixels[y : y + h, x : x + w] = (250, 200, 40) if label == 0 else (40, 120, 250)
        Image.fromarray(pixels).save(folder / 'images' / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=80, height=64))
        annotations.append(
            dict(
                id=i + 1,
                image_id=i,
                category_id=label + 1,
                bbox=[x, y, w, h],
                area=w * h,
                iscrowd=0,
            )
        )
    categories = [dict(id=1, name='square'), dict(id=2, name='bar')]
    for name, ids in (('train', range(8)), ('val', range(4))):
        text = json.dumps(
            dict(
                images=[images[i] for i in ids],
                annotations=[annotations[i] for i in ids],
                categories=categories,
            )
        )
        (folder / f'{name}.json').write_text(text)


def run(tool, *args, cwd=None):
    """Run a tool in a process of its own; gives its exit code, and its two streams as one."""
    process = subprocess.run(
        [sys.executable, ROOT / 'tools' / f'{tool}.py', *map(str, args)],
        cwd=cwd or ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.fixture(scope='module')
def workshop(tmp_path_factory):
    """Data, configs, and a teacher and a distilled student trained for two epochs."""
    folder = tmp_path_factory.mktemp('workshop')
    write_data(folder / 'data')
    for name, width in (('student', 8), ('teacher', 12)):
        text = CONFIG.replace('{data}', f'{folder}/data').replace('{width}', str(width))
        (folder / f'{name}.py').write_text(text)
    (folder / 'distilled.py').write_text(DISTILLED.replace('{folder}', str(folder)))
    for name in ('teacher', 'distilled'):
        # Drawn in one run and in no other: all that compares their weights sees a trace.
        pictures = ['--pictures'] if name == 'distilled' else []
        code, text = run('train', folder / f'{name}.py', '--work-dir', folder / name, *pictures)
        assert code == 0, text
        (folder / f'{name}.log').write_text(text)
    return folder


def weights(path):
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def test_training_logs_the_distillation_and_says_what_is_next(workshop):
    log = (workshop / 'distilled.log').read_text()
    assert 'Evaluate: python tools/test.py' in log
    records = [
        json.loads(line)
        for path in (workshop / 'distilled').glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    entry = next(r for r in records if 'loss' in r)
    for name in ('loss_btkd', 'right', 'gamma', 'easy', 'hard'):
        assert f'distill.roi_logits.{name}' in entry


def test_a_training_leaves_its_page_and_its_pictures(workshop):
    folder = workshop / 'distilled'
    log = (workshop / 'distilled.log').read_text()
    assert log.endswith(f'\nSummary: {folder}/summary.html\n')
    page = (folder / 'summary.html').read_text()
    assert page.count('<svg') == 5
    assert re.findall(r'<a href="(.*?)"', page) == [
        'pictures/epoch_1.jpg',
        'pictures/epoch_2.jpg',
    ]
    for name in ('epoch_1', 'epoch_2'):
        with Image.open(folder / 'pictures' / f'{name}.jpg') as image:
            assert image.width == 1112
    # No terminal, so no bar, and all lines.
    assert len(re.findall(r'Epoch\(val\) \[\d\]\[4/4\]', log)) == 2
    assert '━' not in log


def test_both_configs_give_the_same_ap(workshop):
    checkpoint = workshop / 'distilled' / 'epoch_2.pth'
    results = []
    for name in ('distilled', 'student'):
        out = workshop / f'{name}.json'
        code, text = run('test', workshop / f'{name}.py', checkpoint, '--classwise', '--out', out)
        assert code == 0, text
        shown = text.splitlines()
        assert shown[:4] == [
            f'Config:     {workshop}/{name}.py',
            f'Checkpoint: {checkpoint}',
            f'Data:       CocoDataset, {workshop}/data/val.json: 4 images',
            '',
        ]
        assert shown[4].split()[:3] == ['bbox', 'AP', 'AP50']
        # The environment, the config and the hooks take hundreds of lines.
        assert shown[-2:] == [f'Written: {out}', 'Log: not kept; --work-dir FOLDER keeps it']
        assert len(shown) == 15
        results.append(json.loads(out.read_text())['metrics'])
    assert results[0] == results[1]
    assert {'coco/bbox_AP', 'coco/bbox_ARl', 'coco/bbox_AP/square'} <= set(results[0])


def test_a_detector_beside_its_teacher(workshop):
    weights_file = workshop / 'teacher' / 'epoch_2.pth'
    named = ('--teacher-config', workshop / 'teacher.py', '--teacher-checkpoint', weights_file)

    code, text = run('test', workshop / 'teacher.py', weights_file, *named)

    assert code == 0, text
    line = next(line for line in text.splitlines() if '(beyond the teacher)' in line)
    found, total = map(int, re.search(r'(\d+) of (\d+)', line).groups())
    assert (found, total > 0) == (0, True), line


def test_the_checkpoint_is_the_plain_students(workshop):
    plain = preflight.build_model(preflight.load_config(str(workshop / 'student.py')))
    result = plain.load_state_dict(weights(workshop / 'distilled' / 'epoch_2.pth'), strict=False)
    assert not result.missing_keys
    assert not [key for key in result.unexpected_keys if not key.startswith('distill.')]


def test_resumed_run_is_the_run_that_was_not_stopped(workshop):
    resumed = workshop / 'resumed'
    resumed.mkdir()
    shutil.copy(workshop / 'distilled' / 'epoch_1.pth', resumed)
    (resumed / 'last_checkpoint').write_text(str(resumed / 'epoch_1.pth'))
    code, text = run('train', workshop / 'distilled.py', '--work-dir', resumed, '--resume')
    assert code == 0, text
    whole = weights(workshop / 'distilled' / 'epoch_2.pth')
    again = weights(resumed / 'epoch_2.pth')
    assert list(whole) == list(again)
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_adding_distillation_to_a_plain_config(workshop):
    work_dir = workshop / 'added'
    code, text = run(
        'train',
        workshop / 'student.py',
        '--work-dir',
        work_dir,
        '--teacher-config',
        workshop / 'teacher.py',
        '--teacher-checkpoint',
        workshop / 'teacher' / 'epoch_2.pth',
        '--distill',
        'btkd-paper',
    )
    assert code == 0, text
    assert 'btkd_det.BTKDLoss' in text
    saved = (work_dir / 'student.py').read_text()
    assert 'btkd_det.DistilledTwoStageDetector' in saved
    whole = weights(workshop / 'distilled' / 'epoch_2.pth')
    again = weights(work_dir / 'epoch_2.pth')
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def _wrong_inputs(folder):
    teacher = f'model.teacher.checkpoint={folder}'
    return {
        'no config': (['nowhere.py'], ['CONFIG', 'nowhere.py']),
        'data root': (
            ['distilled.py', '--cfg-options', 'data_root=/nowhere'],
            ['train_dataloader.dataset.data_root', '/nowhere'],
        ),
        'annotation file': (
            ['distilled.py', '--cfg-options', 'train_dataloader.dataset.ann_file=no.json'],
            ['train_dataloader.dataset.ann_file', 'no.json'],
        ),
        'images': (
            ['distilled.py', '--cfg-options', 'train_dataloader.dataset.data_prefix.img=no'],
            ['train_dataloader.dataset.data_prefix.img', 'no'],
        ),
        'class names of the data': (
            ['distilled.py', '--cfg-options', "train_dataloader.dataset.metainfo.classes=('cat',)"],
            ['train.json', 'cat', 'square, bar'],
        ),
        'no teacher checkpoint': (
            ['distilled.py', '--cfg-options', f'{teacher}/no.pth'],
            ['model.teacher.checkpoint', 'no.pth', 'pretrained'],
        ),
        'another architecture': (
            ['distilled.py', '--cfg-options', f'{teacher}/distilled/epoch_2.pth'],
            ['model.teacher.checkpoint', 'epoch_2.pth', 'backbone', '(8,'],
        ),
        'pickled code': (
            ['distilled.py', '--cfg-options', f'{teacher}/evil.pth'],
            ['model.teacher.checkpoint', 'evil.pth', 'executed'],
        ),
        'not a checkpoint': (
            ['distilled.py', '--cfg-options', f'{teacher}/data/train.json'],
            ['model.teacher.checkpoint', 'train.json'],
        ),
        'class names of the teacher': (
            ['distilled.py', '--cfg-options', f'{teacher}/renamed.pth'],
            ['teacher', 'circle', 'square'],
        ),
        'class count of the student': (
            ['student.py', '--cfg-options', 'model.roi_head.bbox_head.num_classes=4'],
            ['model.roi_head.bbox_head.num_classes', '4', '2 classes'],
        ),
        'site': (
            ['distilled.py', '--cfg-options', 'model.distill.roi_logit.type=btkd_det.KDLoss'],
            ["'roi_logit'", 'roi_logits'],
        ),
        'option': (
            ['distilled.py', '--cfg-options', 'modle.backbone.depth=34'],
            ["'modle'", "'model'"],
        ),
        'resume': (['distilled.py', '--resume', 'no.pth'], ['--resume', 'no.pth']),
        'mixed precision without a GPU': (['distilled.py', '--amp'], ['--amp', 'GPU']),
        'pictures': (['distilled.py', '--pictures', '0'], ['--pictures', '0', 'valid']),
        'preset': (
            [
                'student.py',
                '--teacher-config',
                'teacher.py',
                '--teacher-checkpoint',
                'teacher/epoch_2.pth',
                '--distill',
                'bktd',
            ],
            ["'bktd'", 'btkd', 'kd'],
        ),
        'half a teacher': (
            ['student.py', '--teacher-config', 'teacher.py'],
            ['--teacher-checkpoint', 'missing'],
        ),
    }


@pytest.mark.parametrize('case', list(_wrong_inputs('')))
def test_wrong_input_is_one_error_before_anything_is_written(workshop, case, monkeypatch):
    torch.save({'state_dict': {}, 'code': Evil()}, workshop / 'evil.pth')
    renamed = torch.load(workshop / 'teacher' / 'epoch_2.pth', weights_only=False)
    renamed['meta']['dataset_meta']['classes'] = ('circle', 'bar')
    torch.save({k: renamed[k] for k in ('meta', 'state_dict')}, workshop / 'renamed.pth')
    args, words = _wrong_inputs(str(workshop))[case]
    work_dir = workshop / 'refused'
    monkeypatch.chdir(workshop)
    # On a machine with a GPU, too.
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    monkeypatch.setattr(sys, 'argv', ['train.py', *args, '--work-dir', str(work_dir)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
    error = stopped.value.code
    assert error.startswith('error: ')
    assert '\n' not in error
    for word in words:
        assert word in error, error
    assert not work_dir.exists()
    assert not (workshop / 'executed').exists()


def test_wrong_input_ends_with_one_line_and_exit_code_1(workshop):
    code, text = run('train', 'nowhere.py', '--work-dir', workshop / 'refused', cwd=workshop)
    assert code == 1
    assert 'Traceback' not in text
    assert text.splitlines()[-1].startswith('error: CONFIG: no file nowhere.py')
    assert not (workshop / 'refused').exists()


class Evil:
    """Unpickling it would leave a file in the working directory."""

    def __reduce__(self):
        return Path.touch, (Path('executed'),)


def test_evaluating_a_checkpoint_of_another_architecture(workshop):
    code, text = run('test', workshop / 'student.py', workshop / 'teacher' / 'epoch_2.pth')
    assert code == 1
    assert text.splitlines()[-1].startswith('error: CKPT: ')
    assert '(12,' in text


def test_a_teacher_of_the_same_classes_in_another_order_is_mapped_by_name(workshop):
    saved = torch.load(workshop / 'teacher' / 'epoch_2.pth', weights_only=False)
    state = saved['state_dict']
    head = 'roi_head.bbox_head.'
    for part in ('weight', 'bias'):
        state[f'{head}fc_cls.{part}'] = state[f'{head}fc_cls.{part}'][[1, 0, 2]]
        sides = state[f'{head}fc_reg.{part}']
        state[f'{head}fc_reg.{part}'] = sides.view(2, 4, *sides.shape[1:])[[1, 0]].reshape(
            sides.shape
        )
    meta = dict(dataset_meta=dict(classes=('bar', 'square')))
    torch.save(dict(meta=meta, state_dict=state), workshop / 'swapped.pth')
    code, text = run(
        'train',
        workshop / 'distilled.py',
        '--work-dir',
        workshop / 'mapped',
        '--cfg-options',
        f'model.teacher.checkpoint={workshop}/swapped.pth',
        'model.teacher.evaluate_teacher=False',
    )
    assert code == 0, text
    assert 'mapped by name' in text
    whole = weights(workshop / 'distilled' / 'epoch_2.pth')
    again = weights(workshop / 'mapped' / 'epoch_2.pth')
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_the_teacher_is_evaluated_and_its_head_inherited_where_asked(workshop):
    code, text = run(
        'train',
        workshop / 'distilled.py',
        '--work-dir',
        workshop / 'asked',
        '--cfg-options',
        'model.teacher.evaluate_teacher=True',
        'model.teacher.init_student=teacher',
        'train_cfg.max_epochs=1',
    )
    assert code == 0, text
    assert 'teacher: coco/bbox_mAP: ' in text
    assert "teacher.init_student: the student starts with the teacher's" in text
