"""Pixels of any number of channels and any depth are drawn as a person would expect them."""

import io

import cv2
import mmcv
import numpy as np
import pytest
import torch
from PIL import Image

from btkd_det.report.bias_figures import example_sheet
from btkd_det.report.pixels import decoded_image, image_of_input, rgb_image


@pytest.mark.parametrize('blue_first', [False, True])
@pytest.mark.parametrize('channels', [1, 2, 3, 4, 6])
def test_any_number_of_channels_is_drawn(channels, blue_first):
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    image = image_of_input(pixels, blue_first)
    assert (image.mode, image.size) == ('RGB', (7, 5))
    shown = [0, 1, 2] if channels >= 3 else [0, 0, 0]
    expected = pixels[shown[::-1] if blue_first else shown].permute(1, 2, 0)
    assert np.array_equal(np.asarray(image), expected.numpy())


@pytest.mark.parametrize(
    ('values', 'drawn'),
    [
        (np.array([[0, 32768, 65535]], dtype=np.uint16), [0, 127, 255]),
        (np.array([[0, 40, 255]], dtype=np.uint16), [0, 40, 255]),
        (np.array([[-5, 500, 1000]], dtype=np.int32), [0, 127, 255]),
        (np.array([[-9.0, 128.0, 300.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 3e4, 6e4]], dtype=np.float32), [0, 127, 255]),
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float64), [0, 127, 255]),
        (np.array([[np.nan, np.inf, 200.0]], dtype=np.float32), [0, 0, 200]),
        (np.array([[False, True, True]]), [0, 255, 255]),
    ],
)
def test_any_depth_is_drawn_from_black_to_white(values, drawn):
    image = np.asarray(rgb_image(values))
    assert image[0, :, 0].tolist() == image[0, :, 2].tolist() == drawn


def test_half_precision_is_drawn():
    pixels = torch.full((3, 2, 2), 200.0, dtype=torch.bfloat16)
    assert np.asarray(image_of_input(pixels)).tolist() == [[[200] * 3] * 2] * 2


def stored(name):
    """The bytes of a file of one kind, with pixels that rise from left to right."""
    gray = np.tile(np.linspace(0, 255, 24, dtype=np.uint8), (16, 1))
    color = np.dstack([gray, gray[:, ::-1], gray // 2])
    file = io.BytesIO()
    if name == 'gray 16':
        Image.fromarray(gray.astype(np.uint16) * 257).save(file, 'PNG')
    elif name == 'turned by EXIF':
        image = Image.fromarray(color)
        exif = image.getexif()
        exif[0x112] = 6
        image.save(file, 'JPEG', exif=exif)
    elif name == 'alpha':
        Image.fromarray(np.dstack([color, gray])).save(file, 'PNG')
    elif name == 'palette':
        Image.fromarray(color).convert('P').save(file, 'PNG')
    else:
        Image.fromarray(gray).save(file, 'PNG')
    return file.getvalue()


@pytest.mark.parametrize('name', ['gray', 'gray 16', 'turned by EXIF', 'alpha', 'palette'])
def test_a_file_looks_as_the_data_set_decodes_it(name):
    content = stored(name)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(np.asarray(decoded_image(content)), expected[..., ::-1])


def test_the_pipelines_own_decoding_counts():
    content = stored('turned by EXIF')
    assert decoded_image(content).size == (16, 24)
    assert decoded_image(content, flag='color_ignore_orientation').size == (24, 16)
    deep = np.asarray(decoded_image(stored('gray 16'), flag='unchanged'))
    assert abs(int(deep.mean()) - 127) <= 1
    clear = np.asarray(decoded_image(stored('alpha'), flag='unchanged'))
    assert np.array_equal(clear, np.asarray(Image.open(io.BytesIO(stored('alpha'))))[..., :3])


@pytest.mark.parametrize('mode', ['I;16', 'F', 'L', 'RGB'])
def test_pillow_reads_what_the_decoder_does_not_know(mode, monkeypatch):
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **keys: None)
    deep = {'I;16': np.uint16, 'F': np.float32}.get(mode)
    gray = np.tile(np.linspace(0, 255, 24, dtype=np.uint8), (16, 1))
    pixels = gray if deep is None else gray.astype(deep) * (257 if deep is np.uint16 else 100)
    image = Image.fromarray(np.dstack([gray] * 3) if mode == 'RGB' else pixels)
    assert image.mode == mode
    file = io.BytesIO()
    image.save(file, 'TIFF')
    drawn = np.asarray(decoded_image(file.getvalue()))
    assert np.abs(drawn[..., 1].astype(int) - gray).max() <= 1


@pytest.mark.parametrize('channels', [1, 2, 4, 6])
def test_the_sheet_of_mistakes_takes_images_of_any_channels(channels):
    example = dict(
        picture=torch.zeros(channels, 40, 40, dtype=torch.uint8),
        truth=[],
        box=None,
        choice=0,
        label=1,
        confidence=0.9,
    )
    example['picture'][0] = 255
    # Where blue is first, the first of several channels is blue.
    sheet = np.asarray(example_sheet([example], ('cat', 'dog'), swap_channels=True))
    color = sheet[sheet.shape[0] // 2, sheet.shape[1] // 2].tolist()
    assert color == ([0, 0, 255] if channels > 2 else [255, 255, 255])
