"""Images that cannot be used are named before training, or left out where the config says so."""

import os
import time

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from btkd_det.datasets import SkipBadImages
from btkd_det.errors import ConfigError
from btkd_det.preflight.images import check_images, find_bad_images, on_bad_image, skip_bad_images

LOAD = dict(type='LoadImageFromFile')


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    for name in ('good.png', 'good.jpg', 'good.bmp', 'good.webp', 'good.tiff', 'gray.gif'):
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(pixels).save(tmp_path / 'jpeg.png', format='JPEG')
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'text.png').write_text('<svg/>')
    (tmp_path / 'folder.png').mkdir()
    os.symlink('loop.png', tmp_path / 'loop.png')
    os.symlink('nowhere.png', tmp_path / 'dangling.png')
    os.symlink('good.png', tmp_path / 'link.png')
    content = (tmp_path / 'good.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(content[: len(content) // 2])
    return tmp_path


def test_bad_images_are_told_apart_and_good_ones_pass(folder):
    names = sorted(os.listdir(folder)) + ['missing.png', 'no_such_folder/a.png']
    bad, cut = find_bad_images([str(folder / n) for n in names], dict(pipeline=[LOAD]))
    reasons = {os.path.relpath(path, folder): reason for path, reason in bad.items()}
    assert reasons.pop('loop.png') == os.strerror(40)
    assert reasons.pop('text.png').startswith('no image: starts with')
    assert reasons.pop('cut.png').startswith('damaged or cut off')
    assert reasons == {
        'empty.png': 'an empty file',
        'folder.png': 'a folder',
        'dangling.png': 'a link to nowhere',
        'missing.png': 'no such file',
        'no_such_folder/a.png': 'no such file',
    }
    assert cut == {}


def test_a_short_jpeg_that_the_decoder_fills_up_is_warned_of(folder, monkeypatch, said):
    content = (folder / 'good.jpg').read_bytes()
    (folder / 'short.jpg').write_bytes(content[:-100])
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **kwargs: np.zeros((4, 4, 3)))
    check_images([str(folder / 'short.jpg'), str(folder / 'good.jpg')], {}, 'F', 'error')
    assert 'short.jpg: ends too early' in said[0]
    assert '(1 of 2 images are so)' in said[0]


def test_ten_thousand_images_take_a_second(tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path / '0.png')
    for i in range(1, 2000):
        os.link(tmp_path / '0.png', tmp_path / f'{i}.png')
    start = time.process_time()
    assert find_bad_images([str(tmp_path / f'{i}.png') for i in range(2000)], {}) == ({}, {})
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(('action', 'test_mode'), [('error', False), ('skip', True)])
def test_the_error_names_path_and_count(folder, action, test_mode):
    paths = [str(folder / name) for name in ('good.png', 'empty.png', 'missing.png')]
    with pytest.raises(ConfigError) as caught:
        check_images(paths, dict(test_mode=test_mode), 'train_dataloader.dataset', action)
    start = f'train_dataloader.dataset: {folder}/empty.png: an empty file (2 of 3 images cannot be'
    assert str(caught.value).startswith(start)
    assert ('on_bad_image' in str(caught.value)) is not test_mode


@pytest.mark.parametrize('loader', ['val_dataloader', 'test_dataloader'])
def test_what_evaluates_is_never_skipped(folder, loader):
    paths = [str(folder / 'good.png'), str(folder / 'empty.png')]
    with pytest.raises(ConfigError, match='empty file') as caught:
        check_images(paths, {}, f'{loader}.dataset', 'skip')
    assert 'on_bad_image' not in str(caught.value)


def test_data_in_test_mode_do_not_skip():
    dataset = dict(type='CocoDataset', pipeline=[LOAD], test_mode=True)
    cfg = Config(dict(on_bad_image='skip', train_dataloader=dict(dataset=dataset)))
    skip_bad_images(cfg)
    assert cfg.train_dataloader.dataset.pipeline == [LOAD]


def test_skip_leaves_out_what_can_be_left_out(folder, said):
    bad = str(folder / 'empty.png')
    check_images([bad, str(folder / 'good.png')], {}, 'F', 'skip')
    assert 'empty.png' in said[0]
    with pytest.raises(ConfigError, match='at least one image'):
        check_images([bad], {}, 'F', 'skip')


def test_on_bad_image_is_error_or_skip():
    assert on_bad_image(Config()) == 'error'
    with pytest.raises(ConfigError, match="^on_bad_image: 'Skip' .*; valid: error, skip"):
        on_bad_image(Config(dict(on_bad_image='Skip')))


def test_a_skipping_pipeline_gives_nothing_for_a_bad_image(folder):
    pipeline = SkipBadImages([LOAD, dict(type='Resize', scale=(16, 16), keep_ratio=True)])
    assert pipeline(dict(img_path=str(folder / 'good.png')))['img'].shape == (13, 16, 3)
    cv2.imwrite(str(folder / 'thin.png'), np.zeros((2, 4000, 3), np.uint8))
    for name in ('empty.png', 'text.png', 'cut.png', 'missing.png', 'loop.png', 'thin.png'):
        assert pipeline(dict(img_path=str(folder / name))) is None


def test_a_fault_of_a_transform_is_not_skipped(folder):
    class Faulty:
        def __call__(self, results):
            raise KeyError('bboxes')

    with pytest.raises(KeyError, match='bboxes'):
        SkipBadImages([LOAD, Faulty()])(dict(img_path=str(folder / 'good.png')))


def test_every_pipeline_of_training_skips():
    inner = dict(type='CocoDataset', pipeline=[LOAD])
    wrapped = dict(type='MultiImageMixDataset', dataset=inner, pipeline=[dict(type='Mosaic')])
    cfg = dict(
        on_bad_image='skip',
        train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[wrapped, inner])),
        val_dataloader=dict(dataset=inner),
        custom_hooks=[dict(type='PipelineSwitchHook', switch_pipeline=[LOAD])],
    )
    cfg = Config(cfg)
    skip_bad_images(cfg)
    skip_bad_images(cfg)
    skipping = [dict(type='btkd_det.SkipBadImages', transforms=[LOAD])]
    first, second = cfg.train_dataloader.dataset.datasets
    assert first.dataset.pipeline == second.pipeline == skipping
    assert cfg.custom_hooks[0].switch_pipeline == skipping
    assert cfg.val_dataloader.dataset.pipeline == [LOAD]
    assert cfg.custom_imports.imports == ['btkd_det']
