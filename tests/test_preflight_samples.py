"""The data are built and give a sample before training; what fails there is one line."""

import pickle

import numpy as np
import pytest
from mmengine.config import Config

from btkd_det import preflight
from btkd_det.errors import ConfigError
from tests.classifiers import tiny_resnet, write_images

LOAD = [dict(type='LoadImageFromFile')]
GRAY = [dict(type='LoadImageFromFile', color_type='grayscale')]
PACK = [dict(type='PackInputs')]
CLASSIFIER = dict(type='ImageClassifier', data_preprocessor=dict(mean=[0.0], std=[1.0]))


@pytest.fixture
def cfg(tmp_path):
    write_images(tmp_path / 'data')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path / 'data'), pipeline=LOAD + PACK)
    return Config(
        dict(
            default_scope='mmpretrain',
            model=CLASSIFIER,
            train_dataloader=dict(batch_size=4, dataset=dataset),
        )
    )


def shape_of(cfg, **changes):
    cfg.train_dataloader.dataset.update(changes)
    return preflight.check_samples(cfg)


def test_the_shape_is_that_of_what_the_model_gets(cfg):
    assert shape_of(cfg) == (3, 32, 32)
    assert shape_of(cfg, pipeline=[*GRAY, *PACK]) == (1, 32, 32)
    resize = dict(type='Resize', scale=(48, 40))
    assert shape_of(cfg, pipeline=[*LOAD, resize, *PACK]) == (3, 40, 48)
    cfg.train_dataloader.collate_fn = dict(type='default_collate')
    assert shape_of(cfg, pipeline=[*GRAY, *PACK]) == (1, 32, 32)


def test_random_numbers_are_as_before(cfg):
    flips = [*LOAD, dict(type='RandomFlip', prob=0.5), *PACK]
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    shape_of(cfg, pipeline=flips)
    assert np.random.rand() == expected


def memory(cfg, **settings):
    inner = dict(cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(type='btkd_det.InMemoryImages', dataset=inner, **settings)
    return cfg


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda c: memory(c, crop_padding=-1), 'train_dataloader.dataset.crop_padding: -1; valid'),
        (lambda c: memory(c, flipp=0.5), "unexpected keyword argument 'flipp'"),
        (
            lambda c: c.train_dataloader.dataset.update(extensions=('.txt',)),
            'train_dataloader.data',
        ),
        (
            lambda c: c.train_dataloader.dataset.update(type='CIFAR10', split='tain', pipeline=[]),
            "The split must be one of ['train', 'test'], but get 'tain'",
        ),
        (
            lambda c: c.train_dataloader.dataset.update(type='ImageNet', split=''),
            'train_dataloader.dataset: ImageNet cannot be built: AssertionError',
        ),
        (
            lambda c: c.train_dataloader.dataset.update(
                pipeline=[*LOAD, dict(type='CenterCrop', crop_size=0), *PACK]
            ),
            'train_dataloader.dataset: CustomDataset cannot be built',
        ),
        (
            lambda c: c.train_dataloader.dataset.update(pipeline=[*LOAD]),
            'do not go through model.data_preprocessor',
        ),
    ],
    ids=['value', 'key', 'empty', 'split', 'folders', 'transform', 'not packed'],
)
def test_what_does_not_build_is_one_line(cfg, change, words):
    change(cfg)
    with pytest.raises(ConfigError) as caught:
        preflight.check_samples(cfg)
    assert words in str(caught.value)
    assert '\n' not in str(caught.value)


def test_an_image_that_cannot_be_read_is_one_line(cfg, tmp_path):
    (tmp_path / 'data/cat/0.png').write_bytes(b'no image')
    with pytest.raises(ConfigError, match='its first image gives no sample: ') as caught:
        preflight.check_samples(cfg)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_damaged_archive_is_named_and_nothing_is_downloaded(cfg, tmp_path, monkeypatch, wrapped):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    for name in (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch', 'batches.meta'):
        (folder / name).write_bytes(pickle.dumps(dict(data=np.zeros((2, 3072)), labels=[0, 1])))
    downloaded = []
    monkeypatch.setattr(
        'mmpretrain.datasets.cifar.download_and_extract_archive',
        lambda *a, **k: downloaded.append(a),
    )
    dataset = dict(type='CIFAR10', data_root=str(tmp_path), split='train', pipeline=PACK)
    if wrapped:
        dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
    cfg.train_dataloader.dataset = dataset
    with pytest.raises(ConfigError, match='data_batch_1 is damaged: its MD5 is'):
        preflight.check_samples(cfg)
    assert not downloaded


def test_a_missing_archive_is_not_downloaded(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr('mmpretrain.datasets.mnist.MNIST._download', None)
    cfg.train_dataloader.dataset = dict(type='MNIST', data_root=str(tmp_path), split='train')
    with pytest.raises(ConfigError, match='MNIST cannot be built: .*download=True'):
        preflight.check_samples(cfg)


def test_the_validation_data_are_looked_at_too(cfg, tmp_path):
    cfg.val_dataloader = dict(batch_size=1, dataset=dict(cfg.train_dataloader.dataset))
    assert preflight.check_samples(cfg) == (3, 32, 32)
    cfg.val_dataloader.dataset.pipeline = [*LOAD, dict(type='Nothing'), *PACK]
    with pytest.raises(ConfigError, match=r'val_dataloader.dataset: .*Nothing'):
        preflight.check_samples(cfg)


def test_a_model_is_of_no_concern(cfg):
    cfg.model = tiny_resnet()
    assert preflight.check_samples(cfg) == (3, 32, 32)
