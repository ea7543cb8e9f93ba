"""Pictures of a training whose images have other channels, or more bits, than a photograph."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from btkd_det.hooks import pictures

LOAD = dict(type='LoadImageFromFile')
NONE = torch.zeros(0, 4)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 6])
def test_a_classifiers_images_of_any_channels_are_drawn(channels):
    pixels = torch.randint(0, 256, (channels, 8, 8), dtype=torch.uint8)
    answer = SimpleNamespace(pred_label=1, pred_score=torch.tensor([0.1, 0.9]), gt_label=1)
    runner = SimpleNamespace(
        cfg=Config(dict(val_dataloader=dict(dataset=dict(type='InMemory')))),
        model=SimpleNamespace(data_preprocessor=SimpleNamespace()),
    )
    image = pictures._classified(runner, dict(inputs=[pixels]), answer, answer).image
    assert image.mode == 'RGB'
    assert np.array_equal(np.asarray(image)[..., 0], pixels[0].numpy())
    assert np.array_equal(np.asarray(image)[..., 2], pixels[2 if channels > 2 else 0].numpy())


def row_of(path, dataset):
    """What is drawn of an image without objects."""
    runner = SimpleNamespace(cfg=Config(dict(val_dataloader=dict(dataset=dataset))))
    nothing = SimpleNamespace(bboxes=NONE, labels=torch.zeros(0).long(), scores=torch.zeros(0))
    sample = SimpleNamespace(pred_instances=nothing)
    info = dict(img_path=str(path), instances=[])
    return pictures._detection_row(info, sample, sample, 0.3, pictures._decoding(runner))


def test_a_detectors_gray_images_of_16_bits_are_not_white(tmp_path):
    gray = np.tile(np.linspace(0, 65535, 80).astype(np.uint16), (64, 1))
    Image.fromarray(gray).save(tmp_path / 'deep.png')
    row = row_of(tmp_path / 'deep.png', dict(type='CocoDataset', ann_file='a', pipeline=[LOAD]))
    expected = cv2.imread(str(tmp_path / 'deep.png'))
    assert np.array_equal(np.asarray(row.image), expected)
    assert 120 < expected.mean() < 135


@pytest.mark.parametrize('wrap', [lambda d: d, lambda d: dict(type='RepeatDataset', dataset=d)])
def test_a_detectors_images_are_turned_only_where_the_data_set_turns_them(tmp_path, wrap):
    image = Image.new('RGB', (80, 64))
    exif = image.getexif()
    exif[0x112] = 6
    image.save(tmp_path / 'turned.jpg', exif=exif)
    size = lambda step: (
        row_of(
            tmp_path / 'turned.jpg', wrap(dict(type='CocoDataset', ann_file='a', pipeline=[step]))
        ).image.size
    )
    assert size(LOAD) == (64, 80)
    assert size(dict(LOAD, color_type='color_ignore_orientation')) == (80, 64)
