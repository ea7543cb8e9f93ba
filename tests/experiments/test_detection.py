"""The engine on drawn shapes: a cell's teacher is spoiled as the study says, AP comes back."""

import json
from pathlib import Path

import pytest

from btkd_det.errors import ConfigError
from btkd_det.teacher_cache import file_digest
from experiments.demo.shapes import ShapesSpec, make_shapes
from experiments.lab.detection import Detection
from experiments.lab.study import Run

from .studies import laboratory, study

CONFIGS = Path(__file__).parents[2] / 'configs' / 'shapes'
STUDENT = str(CONFIGS / 'faster-rcnn_r18w8_fpn_5e_shapes.py')
DETR = str(CONFIGS / 'conditional-detr_r18w8_10e_shapes.py')
ARMS = dict(
    alone={},
    kd=dict(distill=dict(roi_logits=dict(type='btkd_det.KDLoss', temperature=1.0))),
)
CELLS = dict(good={}, dropped=dict(teacher=dict(annotations=dict(drop=0.5), stop_after=1)))


def small_study(**changes):
    content = dict(
        kind='detection',
        metric='AP',
        data=dict(root_variable='SHAPES_ROOT'),
        schedule=None,
        student=dict(config=STUDENT, changes={'train_cfg.max_epochs': 1}),
        teacher=dict(config=STUDENT, seed=0, changes={'train_cfg.max_epochs': 2}),
        arms=ARMS,
        cells=CELLS,
        seeds=[0],
    )
    return study(**{**content, **changes})


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes') / 'set'
    make_shapes(folder, ShapesSpec(train=8, val=2, test=2))
    return folder


@pytest.fixture(scope='module')
def finished(data_root, tmp_path_factory):
    """KD from the spoiled teacher, and the student alone, trained for one epoch each."""
    folder = tmp_path_factory.mktemp('study')
    small = small_study()
    trainer = Detection(small, data_root, folder / 'work' / small.name)
    lab = laboratory(folder, small, trainer, only=['dropped/*'], workers=2)
    assert lab.run(), [
        (folder / 'work/tiny' / run.key / 'run.log').read_text() for run in lab.failed[:1]
    ]
    return lab


def test_runs_give_coco_ap_in_percent(finished):
    for arm in ARMS:
        found = finished.results.read(Run('dropped', arm))
        for split in ('test', 'validation'):
            assert {'AP', 'AP50', 'ARl'} <= set(found[split])
            assert all(value == -1 or 0 <= value <= 100 for value in found[split].values())
    log = (finished.work_dir / 'dropped/kd/seed0/run.log').read_text()
    assert 'distill.roi_logits' in log


def test_a_teacher_says_where_it_errs(finished):
    found = finished.results.read(Run('dropped'))
    for name in ('right_on_test_rois', 'right_on_training_rois'):
        assert set(found[name]) == {'foreground', 'background'}
        assert all(0 <= value <= 100 for value in found[name].values())
    assert found['error'] == pytest.approx(100 - found['right_on_test_rois']['foreground'])
    assert finished.trainer.has_teacher('dropped')
    assert not finished.trainer.has_teacher('good')


def test_annotations_are_spoiled_for_the_one_who_learns_from_them(finished, data_root):
    trainer, small = finished.trainer, finished.study
    taught = trainer.config(small.teacher_of('dropped'), 0)
    ann_file = Path(taught.train_dataloader.dataset.ann_file)
    content = json.loads(ann_file.read_text())
    source = json.loads((data_root / 'annotations/instances_train.json').read_text())
    objects = [len([a for a in c['annotations'] if not a['iscrowd']]) for c in (source, content)]
    assert objects[1] == objects[0] - round(objects[0] / 2)
    assert taught.train_cfg.max_epochs == 1
    student = trainer.config(small.student_of('dropped'), 3)
    assert student.train_dataloader.dataset.ann_file == 'annotations/instances_train.json'
    assert student.train_dataloader.dataset.data_root.startswith(str(data_root))
    assert student.randomness.seed == 3


def test_students_go_on_from_one_start(data_root, tmp_path):
    start = dict(config=STUDENT, seed=5, changes={'train_cfg.max_epochs': 1})
    small = small_study(student=dict(config=STUDENT, start=start))
    small.student['changes'] = {'train_cfg.max_epochs': 1}
    trainer = Detection(small, data_root, tmp_path / 'work' / small.name)
    lab = laboratory(tmp_path, small, trainer, only=['good/alone/*'])
    assert lab.run()
    (weights,) = lab.work_dir.glob('starts/*/weights.pth')
    found = lab.results.read(Run('good', 'alone'))
    assert found['start_sha256'] == file_digest(weights)
    log = (lab.work_dir / 'good/alone/seed0/run.log').read_text()
    assert f'Load checkpoint from {weights}' in log
    # The next one finds it.
    assert trainer._start(start) == weights
    other = study(**{**vars(small), 'student': dict(config=STUDENT)})
    assert other.run_hash(Run('good', 'alone')) != small.run_hash(Run('good', 'alone'))


def test_a_teacher_goes_on_from_a_start_that_has_one(data_root, tmp_path):
    once = {'train_cfg.max_epochs': 1}
    backbone = dict(config=STUDENT, changes=once)
    start = dict(config=DETR, changes=once, start=backbone)
    small = small_study(teacher=dict(config=DETR, changes=once, start=start))
    trainer = Detection(small, data_root, tmp_path / 'work')
    found = trainer.train_teacher(Run('good'), tmp_path / 'log')
    files = {file_digest(path): path for path in tmp_path.glob('work/starts/*/weights.pth')}
    assert len(files) == 2
    weights = files.pop(found['start_sha256'])
    (other,) = files.values()
    for folder, loaded in ((tmp_path / 'log', weights), (weights.parent, other)):
        (log,) = folder.glob('2*/*.log')
        assert f'Load checkpoint from {loaded}' in log.read_text()
    # It has no RoIs to be right at.
    assert not {'error', 'right_on_test_rois'} & set(found)
    assert {'AP', 'AP50'} <= set(found['test'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(data=dict(folder='x')), 'data.root_variable: missing'),
        (dict(teacher=dict(config=STUDENT, annotations=dict(flipp=0.3))), "unknown key 'flipp'"),
    ],
)
def test_what_is_not_valid_is_told(data_root, tmp_path, changes, message):
    small = small_study(**changes)
    with pytest.raises(ConfigError, match=message):
        Detection(small, data_root, tmp_path).config(small.teacher_of('good'), 0)
