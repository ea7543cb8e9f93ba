"""Pictures of a training: when, of what, without a trace in it, and never its end."""

import contextlib
import json
import logging
import random
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS
from PIL import Image
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.hooks import PicturesHook, pictures, running_teacher
from btkd_det.report import side_by_side
from btkd_det.sites.probe import evaluating
from tests.classifiers import save_teacher, tiny_resnet
from tests.conftest import build_detector, tiny_faster_rcnn
from tests.tools.test_train_and_test import write_data
from tests.watched import CLASSES, train_classifier, train_detector

KD = dict(type='btkd_det.KDLoss')
TRAIN = Path(__file__).parents[2] / 'tools' / 'train.py'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Data of both kinds, and their teachers."""
    folder = tmp_path_factory.mktemp('pictures')
    write_data(folder / 'boxes')
    model = tiny_faster_rcnn(num_classes=2, width=12, neck=24)
    meta = dict(dataset_meta=dict(classes=('square', 'bar')))
    state = build_detector(model, seed=7).state_dict()
    torch.save(dict(meta=meta, state_dict=state), folder / 'detector.pth')
    save_teacher(folder / 'classifier.pth', tiny_resnet(12, 3), classes=CLASSES)
    return SimpleNamespace(
        folder=folder,
        detector=dict(config=dict(model=model), checkpoint=f'{folder}/detector.pth'),
        classifier=dict(config=tiny_resnet(12, 3), checkpoint=f'{folder}/classifier.pth'),
    )


def classify(place, name, hooks=(), **keys):
    data = place.folder / 'images'
    keys = {'teacher': place.classifier, 'loss': KD, **keys}
    return train_classifier(place.folder / name, data, custom_hooks=list(hooks), **keys)


def files(runner):
    """Name and size of each picture."""
    found = {}
    for path in sorted(Path(runner.work_dir, 'pictures').glob('*')):
        with Image.open(path) as image:
            found[path.name] = image.size
    return found


def logged(runner, level):
    """What stands in the log of pictures, of one level."""
    text = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    pattern = re.compile(f' {level} - (picture: |no picture)')
    return [line for line in text.splitlines() if pattern.search(line)]


def state(runner):
    """All that a training has at its end."""
    return [
        *runner.model.state_dict().values(),
        torch.get_rng_state(),
        torch.tensor(np.random.get_state()[1].astype(np.int64)),
        torch.tensor(random.getstate()[1]),
    ]


def test_the_last_epoch_has_a_picture(place):
    rare = classify(place, 'rare', [dict(type='btkd_det.PicturesHook', interval=5, count=4)])
    assert files(rare) == {'epoch_2.jpg': (744, 293)}
    (line,) = logged(rare, 'INFO')
    assert re.search(r'epoch_2.jpg \(of 4, \d only the student gets right, \d only the', line)


def test_iterations_without_epochs(place):
    keys = dict(
        train_cfg=dict(by_epoch=False, max_iters=6, val_interval=2),
        train_dataloader_sampler='InfiniteSampler',
    )
    hooks = [dict(type='btkd_det.PicturesHook', interval=2, count=4)]
    runner = classify(place, 'iterations', hooks, **keys)
    assert list(files(runner)) == ['iter_4.jpg', 'iter_6.jpg']


def test_the_training_is_the_same(place):
    # The data are augmented in validation, too, so drawing an image draws random numbers.
    plain = state(classify(place, 'plain'))
    with_pictures = state(classify(place, 'same', [dict(type='btkd_det.PicturesHook')]))
    assert all(torch.equal(a, b) for a, b in zip(plain, with_pictures, strict=True))


def test_a_detectors_images_are_answered_in_the_pixels_of_the_file(place, monkeypatch):
    kept = []

    def sheet(rows, names, title):
        kept.append((rows, names, title))
        return pictures_sheet(rows, names, title)

    pictures_sheet = side_by_side.detection_sheet
    monkeypatch.setattr(side_by_side, 'detection_sheet', sheet)
    keys = dict(train_cfg=dict(by_epoch=True, max_epochs=1))
    hook = dict(type='btkd_det.PicturesHook', count=2, score=0.0)
    data = place.folder / 'boxes'
    runner = train_detector(
        place.folder / 'detect', data, place.detector, custom_hooks=[hook], **keys
    )

    ((rows, names, title),) = kept
    assert (names, title) == (('square', 'bar'), 'epoch 1')
    assert list(files(runner)) == ['epoch_1.jpg']
    annotations = json.loads((data / 'val.json').read_text())['annotations']
    # Of the four images the first and the third.
    for row, index in zip(rows, (0, 2), strict=True):
        x, y, w, h = annotations[index]['bbox']
        assert row.boxes.tolist() == [[x, y, x + w, y + h]]
        assert row.labels.tolist() == [annotations[index]['category_id'] - 1]
        assert row.image.size == (80, 64)
        pixels = np.asarray(Image.open(data / 'images' / f'{index}.png'))
        assert (np.asarray(row.image) == pixels).all()
        loader = runner.val_loop.dataloader
        for found, model in (
            (row.teacher, runner.model.teacher.model),
            (row.student, runner.model),
        ):
            model.eval()
            with torch.no_grad():
                batch = loader.collate_fn([loader.dataset[index]])
                expected = model.val_step(batch)[0].pred_instances
            # The surest comes first, whatever lies on others.
            assert len(found.boxes) > 0
            best = expected.scores.argmax()
            assert found.boxes[0].tolist() == pytest.approx(expected.bboxes[best].tolist())
            assert int(found.labels[0]) == int(expected.labels[best])


def test_a_classifiers_images_are_answered_as_in_validation(place, monkeypatch):
    kept = []
    monkeypatch.setattr(
        side_by_side,
        'classification_sheet',
        lambda *args: (
            kept.append(args) or (Image.new('RGB', (9, 9)), dict(objects=0, beyond=0, lost=0))
        ),
    )
    runner = classify(place, 'answers', [dict(type='btkd_det.PicturesHook', count=6)])

    images, names, title = kept[-1]
    assert (names, title) == (CLASSES, 'epoch 2')
    assert [image.label for image in images] == [0, 0, 1, 1, 2, 2]
    for image in images:
        # Each class is brightest in its own channel, so red is red.
        assert np.asarray(image.image).mean((0, 1)).argmax() == image.label
        pixels = torch.tensor(np.asarray(image.image)).permute(2, 0, 1).flip(0)[None]
        for model, answer in (
            (runner.model, image.student),
            (runner.model.teacher.model, image.teacher),
        ):
            model.eval()
            with torch.no_grad():
                data = model.data_preprocessor(dict(inputs=pixels), False)
                scores = model(data['inputs'], mode='tensor')
            scores = model.head.fc(scores[-1]) if isinstance(scores, tuple) else scores
            share, choice = scores.softmax(dim=1)[0].max(dim=0)
            assert answer == (int(choice), pytest.approx(float(share), abs=1e-4))


def test_a_failure_is_one_warning(place, monkeypatch):
    monkeypatch.setattr(side_by_side, 'classification_sheet', lambda *args: 1 / 0)
    runner = classify(place, 'failing', [dict(type='btkd_det.PicturesHook')])
    (line,) = logged(runner, 'WARNING')
    assert 'no picture could be drawn, the training goes on: ZeroDivisionError' in line
    assert runner.iter == runner.max_iters
    assert not files(runner)


def test_the_student_is_the_average_where_there_is_one(place, monkeypatch):
    seen = []
    answers = pictures._answers
    monkeypatch.setattr(
        pictures, '_answers', lambda student, *rest: seen.append(student) or answers(student, *rest)
    )
    hooks = [dict(type='EMAHook', momentum=0.5), dict(type='btkd_det.PicturesHook', count=1)]
    runner = classify(place, 'average', hooks)
    average = next(hook.ema_model.module for hook in runner.hooks if hasattr(hook, 'ema_model'))
    assert len(seen) == 2
    assert all(student is average for student in seen)
    assert list(files(runner)) == ['epoch_1.jpg', 'epoch_2.jpg']


@MODEL_WRAPPERS.register_module()
class Split(nn.Module):
    """What distributes a model so that no process has it all."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def teacher_of(**keys):
    return SimpleNamespace(**{**dict(model=None, class_map=None, classes=None), **keys})


@pytest.mark.parametrize(
    ('teacher', 'wrapper', 'validates', 'reason'),
    [
        (None, None, True, 'the teacher: there is none'),
        (SimpleNamespace(logits=0), None, True, 'the teacher: it does not run, its logits of the'),
        (teacher_of(), None, False, 'the teacher: there is no validation data'),
        (teacher_of(classes=('ox',)), None, True, 'the teacher: it learned the classes ox, and'),
        (teacher_of(), Split, True, 'the model: Split has it in parts on all processes'),
        (teacher_of(), None, True, None),
    ],
    ids=['none', 'cache', 'no validation', 'other classes', 'split', 'runs'],
)
def test_where_nothing_can_be_drawn_one_line_says_so(
    teacher, wrapper, validates, reason, caplog, monkeypatch
):
    monkeypatch.setattr(running_teacher, 'classes_of_run', lambda: CLASSES)
    model = nn.Module()
    object.__setattr__(model, 'teacher', teacher)
    runner = SimpleNamespace(
        model=wrapper(model) if wrapper else model,
        val_loop=SimpleNamespace() if validates else None,
        logger=logging.getLogger('pictures'),
    )
    hook = PicturesHook()
    with caplog.at_level(logging.INFO):
        hook.before_train(runner)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (reason is not None)
    if reason:
        assert found[0].startswith(f'no pictures are drawn, because of {reason}')
        # Nothing is tried: this runner has nothing that could be drawn.
        hook._write(runner, 'epoch', 1)
        assert len(caplog.records) == 1


def test_beside_a_training_nothing_is_touched():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    model.train()
    model[1].eval()
    model[1][1].train()
    before = [module.training for module in model.modules()]
    draw = lambda: (torch.rand(()).item(), np.random.rand(), random.random())
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draw()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    with contextlib.suppress(ZeroDivisionError), evaluating(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        draw()
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()
    assert draw() == expected


@pytest.mark.parametrize('options', [dict(interval=0), dict(count=0), dict(score=1.0)])
def test_values_out_of_their_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        PicturesHook(**options)


@pytest.mark.parametrize(
    ('hooks', 'expected'),
    [
        ([], [dict(type='btkd_det.PicturesHook', interval=3)]),
        (
            [dict(type='EMAHook'), dict(type='btkd_det.PicturesHook', count=2)],
            [dict(type='EMAHook'), dict(type='btkd_det.PicturesHook', count=2, interval=3)],
        ),
    ],
)
def test_the_flag_of_the_command(hooks, expected):
    add_hook = runpy.run_path(str(TRAIN))['add_hook']
    cfg = Config(dict(custom_hooks=hooks))
    add_hook(cfg, 'btkd_det.PicturesHook', interval=3)
    assert cfg.custom_hooks == expected
