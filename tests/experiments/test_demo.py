"""The demo's course: what runs, what is kept, what is refused. Its trainings are stand-ins."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from btkd_det.config import without_distillation
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.evaluation import COCO_NUMBERS
from experiments.demo import demo as module
from experiments.demo.demo import (
    ENTRIES,
    Demo,
    pick_images,
    seconds_per_step,
    training_log,
    validation_curve,
)
from experiments.demo.detections import detect, load_detector
from experiments.demo.shapes import ShapesSpec
from experiments.subprocesses import CommandFailed

ROOT = Path(__file__).parents[2]
SPEC = ShapesSpec(train=4, val=8, test=2, image_size=64)


class Commands:
    """Stands in for ``run_command``: writes what tools/train.py and tools/test.py would."""

    def __init__(self):
        self.ran, self.options, self.fail_on, self.weights = [], [], None, None

    def __call__(self, command, log, on_poll, env):
        tool, config, *arguments = (str(part) for part in command[1:])
        self.ran.append((Path(tool).stem, log.parent.name))
        self.options.append(arguments[arguments.index('--cfg-options') + 1 :])
        assert Path(tool).is_file()
        assert int(env['OMP_NUM_THREADS']) >= 1
        if self.ran[-1] == self.fail_on:
            raise CommandFailed('it broke')
        if Path(tool).stem == 'train':
            self.train(config, Path(arguments[1]), on_poll)
        else:
            assert Path(arguments[0]).is_file()
            metrics = {f'coco/bbox_{name}': 0.25 for name in COCO_NUMBERS}
            Path(arguments[2]).write_text(json.dumps(dict(metrics=metrics)))

    def train(self, config, folder, on_poll):
        log = folder / '20260101' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(
            '{"loss": 2.0, "time": 9.0, "iter": 1}\n{"loss": 1.0, "time": 0.5, "iter": 2}\n'
            '{"coco/bbox_mAP": 0.125, "step": 1}\n{"loss": 1.0, "ti'
        )
        on_poll()
        state = self.weights(config) if self.weights else {}
        torch.save(dict(state_dict=state), folder / 'epoch_1.pth')
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))


@pytest.fixture
def commands(monkeypatch):
    stand_in = Commands()
    monkeypatch.setattr(module, 'run_command', stand_in)
    monkeypatch.setattr(module, 'load_detector', lambda config, checkpoint: nn.Linear(2, 2))
    monkeypatch.setattr(module, 'detect', lambda model, images: [[] for _ in images])
    monkeypatch.setattr(Demo, '_sources', lambda self: [])
    return stand_in


@pytest.fixture
def real_models(commands, monkeypatch):
    """Untrained models of the real configs, and real detections for one picture."""

    def weights(config):
        init_default_scope('mmdet')
        model = MODELS.build(without_distillation(read_config(config, 'config')).model)
        return model.state_dict()

    commands.weights = weights
    monkeypatch.setattr(module, 'load_detector', load_detector)
    monkeypatch.setattr(module, 'detect', detect)
    monkeypatch.setattr(module, 'PICTURES', 1)


def demo_in(folder, **changes):
    return Demo(ROOT, folder / 'demo', **{'spec': SPEC, **changes})


EVERYTHING = [(tool, e.key) for e in ENTRIES for tool in ('train', 'test')]


def test_everything_from_data_to_report(commands, real_models, tmp_path):
    demo = demo_in(tmp_path, seed=3)
    rows = demo.run(stream=io.StringIO())

    assert commands.ran == EVERYTHING
    trainings = commands.options[::2]
    assert all('randomness.seed=3' in options for options in trainings)
    assert all(f'data_root={demo.out / "data"}' in options for options in commands.options)
    teacher = f'model.teacher.checkpoint={demo.out / "teacher" / "epoch_1.pth"}'
    assert [teacher in options for options in trainings] == [False, False, False, True, True]
    start = f'load_from={demo.out / "start" / "epoch_1.pth"}'
    assert [start in options for options in trainings] == [False, False, True, True, True]
    assert 'train_dataloader.dataset.indices=1500' in trainings[0]

    assert [row['title'] for row in rows] == [e.title for e in ENTRIES]
    assert all(row['AP'] == 0.25 and row['seconds_per_step'] == 0.5 for row in rows)
    assert rows[0]['parameters'] > rows[1]['parameters'] == rows[2]['parameters']
    assert json.loads((demo.out / 'results.json').read_text()) == rows
    assert json.loads((demo.out / 'data' / 'shapes.json').read_text())['seed'] == 3
    assert demo.report.is_file()
    assert list((demo.out / 'pictures').glob('val_*.png'))


def test_what_is_finished_is_kept_and_said(commands, tmp_path):
    demo_in(tmp_path).run(stream=io.StringIO())
    commands.ran.clear()
    stream = io.StringIO()
    rows = demo_in(tmp_path).run(stream=stream)
    assert commands.ran == []
    assert len(rows) == 5
    assert stream.getvalue().count('kept from an earlier run') == 6


def test_a_stopped_training_starts_over_and_the_finished_ones_stay(commands, tmp_path):
    commands.fail_on = ('test', 'kd')
    with pytest.raises(CommandFailed):
        demo_in(tmp_path).run(stream=io.StringIO())
    commands.ran.clear()
    commands.fail_on = None
    demo_in(tmp_path).run(stream=io.StringIO())
    assert commands.ran == EVERYTHING[6:]


def test_another_teacher_trains_anew_all_but_the_student_alone(commands, tmp_path):
    demo_in(tmp_path).run(stream=io.StringIO())
    commands.ran.clear()
    other = dataclasses.replace(ENTRIES[0], config=ENTRIES[1].config)
    demo_in(tmp_path, entries=(other, *ENTRIES[1:])).run(stream=io.StringIO())
    assert commands.ran == EVERYTHING[:2] + EVERYTHING[6:]


def test_what_students_go_on_from_trains_them_anew(commands, tmp_path):
    demo_in(tmp_path).run(stream=io.StringIO())
    commands.ran.clear()
    other = dataclasses.replace(ENTRIES[1], options=('train_cfg.max_epochs=3',))
    demo_in(tmp_path, entries=(ENTRIES[0], other, *ENTRIES[2:])).run(stream=io.StringIO())
    assert commands.ran == EVERYTHING[2:]


def test_images_of_each_training(tmp_path):
    demo = Demo(ROOT, tmp_path / 'demo')
    assert [demo._images(entry) for entry in ENTRIES] == [1500, 1500, 600, 600, 600]


def test_a_model_depends_on_the_code_that_trains_it_alone(tmp_path):
    names = {path.relative_to(ROOT).as_posix() for path in demo_in(tmp_path)._sources()}
    assert {'tools/train.py', 'btkd_det/losses/btkd.py', 'btkd_det/bias/rectify.py'} <= names
    assert 'btkd_det/report/rows.py' not in names


def test_fresh_starts_over(commands, tmp_path):
    demo_in(tmp_path).run(stream=io.StringIO())
    commands.ran.clear()
    demo_in(tmp_path, seed=1).run(fresh=True, stream=io.StringIO())
    assert commands.ran == EVERYTHING


def test_another_seed_in_the_same_folder_is_refused(commands, tmp_path):
    demo_in(tmp_path).run(stream=io.StringIO())
    with pytest.raises(ConfigError, match=r'seed=0, asked for 1; .*--fresh'):
        demo_in(tmp_path, seed=1).run(stream=io.StringIO())


@pytest.mark.parametrize('fresh', [False, True])
def test_a_folder_of_somebody_else_is_refused_and_kept(commands, tmp_path, fresh):
    (tmp_path / 'demo').mkdir()
    (tmp_path / 'demo' / 'thesis.tex').write_text('mine')
    with pytest.raises(ConfigError, match=r'--out: .* did not write'):
        demo_in(tmp_path).run(fresh=fresh, stream=io.StringIO())
    assert [p.name for p in (tmp_path / 'demo').iterdir()] == ['thesis.tex']
    assert commands.ran == []


def test_progress_tells_epoch_and_validation(commands, tmp_path, monkeypatch):
    monkeypatch.setattr('experiments.demo.progress.PULSE', 0)
    stream = io.StringIO()
    demo_in(tmp_path).run(stream=stream)
    assert 'student alone, epoch 3/' in stream.getvalue()
    assert 'val AP 12.5' in stream.getvalue()


def test_log_of_a_training(tmp_path):
    path = tmp_path / 'run' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    lines = [dict(loss=1, time=t, iter=i) for i, t in enumerate((7.0, 0.2, 0.4, 0.3))]
    lines.insert(2, {'coco/bbox_mAP': 0.5, 'time': 99})
    path.write_text('\n'.join(map(json.dumps, lines)) + '\n{"loss": 1, "tim')
    log = training_log(tmp_path)
    assert log == lines
    assert seconds_per_step(log) == 0.3
    assert validation_curve(log) == [0.5]
    assert training_log(tmp_path / 'nothing') == []


def test_pictures_are_of_the_first_images_with_enough_objects(tmp_path):
    box = dict(bbox=[1, 2, 3, 4], category_id=2)
    counts = {1: 3, 2: 1, 3: 5, 4: 3}
    annotations = [
        dict(box, image_id=image, iscrowd=int(image == 4 and k == 0))
        for image, count in counts.items()
        for k in range(count)
    ]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg') for i in counts],
        annotations=annotations,
        categories=[dict(id=1, name='a'), dict(id=2, name='b')],
    )
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'instances_val.json').write_text(json.dumps(content))
    files, truths, names = pick_images(tmp_path, 'val', count=3, objects=3)
    assert files == [tmp_path / 'val' / '1.jpg', tmp_path / 'val' / '3.jpg']
    assert truths[0] == [((1, 2, 4, 6), 1, False)] * 3
    assert names == ['a', 'b']
