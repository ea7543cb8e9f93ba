"""A detector's boxes on images, and which of them are right."""

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from btkd_det.errors import ConfigError
from experiments.demo.detections import detect, iou, load_detector, one_for_each_place, verdicts

from ..conftest import build_detector, tiny_faster_rcnn

SQUARE = (0, 0, 10, 10)


@pytest.mark.parametrize(
    ('other', 'crowd', 'expected'),
    [
        (SQUARE, False, 1),
        ((5, 0, 15, 10), False, 50 / 150),
        ((10, 0, 20, 10), False, 0),
        ((5, 0, 105, 100), True, 0.5),
        ((3, 3, 3, 3), False, 0),
    ],
)
def test_iou(other, crowd, expected):
    assert iou(SQUARE, other, crowd) == pytest.approx(expected)


def test_each_object_is_found_once_and_by_the_best_score():
    truth = [(SQUARE, 0, False)]
    found = [((0, 0, 10, 8), 0, 0.9), (SQUARE, 0, 0.8)]
    assert verdicts(found, truth) == ['right', 'wrong']


def test_the_class_and_the_place_have_to_be_right():
    truth = [(SQUARE, 0, False)]
    found = [(SQUARE, 1, 0.9), ((6, 0, 16, 10), 0, 0.8), (SQUARE, 0, 0.7)]
    assert verdicts(found, truth) == ['wrong', 'wrong', 'right']


def test_a_crowd_takes_any_number_of_its_class():
    truth = [((0, 0, 100, 100), 2, True)]
    found = [(SQUARE, 2, 0.9), ((20, 20, 30, 30), 2, 0.8), (SQUARE, 1, 0.7)]
    assert verdicts(found, truth) == ['ignored', 'ignored', 'wrong']


def test_the_object_that_fits_best_is_taken():
    truth = [((0, 0, 10, 14), 0, False), (SQUARE, 0, False)]
    found = [(SQUARE, 0, 0.9), ((0, 0, 10, 13), 0, 0.8)]
    assert verdicts(found, truth) == ['right', 'right']


def test_one_for_each_place_keeps_the_best_whatever_the_class():
    best, beside, elsewhere = (SQUARE, 0, 0.9), ((5, 0, 15, 10), 0, 0.5), ((50, 50, 60, 60), 1, 0.6)
    below = ((0, 0, 10, 9), 1, 0.8)
    assert one_for_each_place([below, beside, best, elsewhere]) == [best, elsewhere, beside]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A tiny detector's config and checkpoint, and an image file."""
    folder = tmp_path_factory.mktemp('model')
    model = tiny_faster_rcnn()
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]
    cfg = dict(
        default_scope='mmdet',
        model=model,
        test_dataloader=dict(dataset=dict(pipeline=pipeline)),
    )
    Config(cfg).dump(folder / 'config.py')
    detector = build_detector(model)
    torch.save(dict(state_dict=detector.state_dict()), folder / 'model.pth')
    Image.new('RGB', (128, 96), (200, 40, 40)).save(folder / 'image.png')
    return folder


def test_detections_come_best_first_in_the_pixels_of_the_file(trained):
    model = load_detector(str(trained / 'config.py'), trained / 'model.pth')
    assert not model.training
    (found,) = detect(model, [trained / 'image.png'], score=0.06)
    scores = [score for _, _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert found
    assert min(scores) >= 0.06
    # The network saw 64 x 48 pixels.
    assert max(box[2] for box, _, _ in found) > 64
    assert all(0 <= label < 3 for _, label, _ in found)
    assert detect(model, [trained / 'image.png'], score=1.0) == [[]]


def test_weights_of_another_model_are_refused(trained, tmp_path):
    torch.save(dict(state_dict={'backbone.x': torch.zeros(1)}), tmp_path / 'other.pth')
    with pytest.raises(ConfigError, match='does not fit'):
        load_detector(str(trained / 'config.py'), tmp_path / 'other.pth')
