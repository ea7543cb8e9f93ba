"""The file of a teacher's logits: what it is refused for, and the data that it describes."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from btkd_det.errors import ConfigError
from btkd_det.preflight import check_cache, check_data
from btkd_det.provenance import content_digest, file_digest
from btkd_det.teacher_cache import (
    FORMAT,
    OF_DATA,
    describe_data,
    fixed_pipeline,
    is_augmented,
    read_cache,
    write_cache,
)
from tests.classifiers import write_images

LOAD = [dict(type='LoadImageFromFile')]
PACK = [dict(type='PackInputs')]
CROP = [dict(type='RandomCrop', crop_size=32, padding=4), dict(type='RandomFlip', prob=0.5)]
OF_TEACHER = dict(
    checkpoint='t.pth', checkpoint_sha256='0', teacher_config='0', dtype=None, class_map=None
)
LOADER = dict(batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False))


@pytest.fixture
def cfg(tmp_path):
    write_images(tmp_path / 'data')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path / 'data'))
    return Config(
        dict(
            default_scope='mmpretrain',
            train_dataloader=dict(LOADER, dataset=dict(dataset, pipeline=LOAD + CROP + PACK)),
            val_dataloader=dict(LOADER, dataset=dict(dataset, pipeline=LOAD + PACK)),
            model=dict(distill=dict(logits=dict(type='btkd_det.KDLoss'))),
        )
    )


def in_memory(cfg, **settings):
    """The same data in memory."""
    cfg = copy.deepcopy(cfg)
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = LOAD + PACK
    cfg.train_dataloader.dataset = dict(type='btkd_det.InMemoryImages', dataset=dataset, **settings)
    return cfg


def write(path, cfg, **changes):
    found = {**describe_data(cfg), **OF_TEACHER, **changes}
    views = 1 if found['views'] is None else found['views']['views']
    write_cache(path, torch.randn(views, found['count'], found['num_classes']), found)
    cfg.model.teacher = dict(cache=str(path))
    return path


def test_it_comes_back_as_it_was_written(cfg, tmp_path):
    logits = torch.randn(1, 12, 3)
    found = {**describe_data(cfg), **OF_TEACHER}
    write_cache(tmp_path / 'new' / 'c.pt', logits, found)
    again, header = read_cache(tmp_path / 'new' / 'c.pt')
    assert torch.equal(again, logits.half())
    assert again.dtype == torch.float16
    assert header == dict(found, content=content_digest(logits.half()))


def test_the_data_is_described_without_reading_an_image(cfg):
    for image in Path(cfg.train_dataloader.dataset.data_root).rglob('*.png'):
        image.write_text('no image')
    found = describe_data(cfg)
    assert (found['dataset'], found['count'], found['num_classes']) == ('CustomDataset', 12, 3)
    assert (found['views'], found['pixels']) == (None, '[]')


@pytest.mark.parametrize('name', ['mmpretrain.Resize', 'Resize'])
def test_transforms_that_change_pixels_for_good_are_part_of_it(cfg, name):
    cfg.train_dataloader.dataset.pipeline = [*LOAD, dict(type=name, scale=32), *PACK]
    assert fixed_pipeline(cfg) == cfg.train_dataloader.dataset.pipeline
    assert not is_augmented(cfg)
    assert describe_data(cfg)['pixels'] == f'[{{"scale": 32, "type": "{name}"}}]'


def test_random_transforms_give_way_to_those_of_the_validation(cfg):
    assert is_augmented(cfg)
    assert fixed_pipeline(cfg) == LOAD + PACK
    cfg.pop('val_dataloader')
    with pytest.raises(ConfigError, match='RandomCrop changes the images at random'):
        fixed_pipeline(cfg)


def test_images_in_memory_are_the_same_data(cfg):
    assert describe_data(in_memory(cfg, crop_padding=4)) == describe_data(cfg)
    assert is_augmented(in_memory(cfg, crop_padding=4))
    assert not is_augmented(in_memory(cfg))
    some = describe_data(in_memory(cfg, classes=['hen', 'cat']))
    first = describe_data(in_memory(cfg, classes=2))
    assert (some['count'], some['num_classes']) == (first['count'], first['num_classes']) == (8, 2)
    assert some['classes'] != first['classes']
    assert some['labels'] != first['labels']


@pytest.mark.parametrize(
    'settings',
    [{}, dict(classes=2), dict(classes=['hen', 'cat']), dict(views=2, view_seed=3, flip=0.5)],
)
def test_images_in_memory_say_of_themselves_what_their_config_says(cfg, settings):
    cfg = in_memory(cfg, **settings)
    found = describe_data(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = DATASETS.build(cfg.train_dataloader.dataset)
    assert set(found) - set(built.description) == {'dataset', 'pixels'}
    assert {**found, **built.description} == found


def test_several_data_sets_in_one_are_refused(cfg):
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[cfg.train_dataloader.dataset] * 2
    )
    with pytest.raises(ConfigError, match='ConcatDataset joins data sets'):
        describe_data(cfg)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('dataset', 'CIFAR100'),
        ('count', 13),
        ('num_classes', 4),
        ('classes', 'other'),
        ('labels', 'other'),
        ('images', 'other'),
        ('pixels', '[{"type": "Resize"}]'),
        ('views', dict(views=2, view_seed=0, crop_padding=4, flip=0.5)),
    ],
)
def test_a_cache_of_other_data_is_refused(cfg, tmp_path, key, value):
    write(tmp_path / 'c.pt', cfg, **{key: value})
    with pytest.raises(ConfigError, match='model.teacher.cache: .*c.pt was written for') as caught:
        check_cache(cfg)
    assert OF_DATA[key] in str(caught.value)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    'change', [dict(views=3), dict(view_seed=1), dict(flip=0.25), dict(crop_padding=2)]
)
def test_a_cache_of_other_views_is_refused(cfg, tmp_path, change):
    settings = dict(views=2, view_seed=0, crop_padding=4, flip=0.5)
    path = write(tmp_path / 'c.pt', viewed := in_memory(cfg, **settings))
    check_cache(viewed)
    other = in_memory(cfg, **{**settings, **change})
    other.model.teacher = dict(cache=str(path))
    with pytest.raises(ConfigError, match='the augmented views'):
        check_cache(other)


@pytest.mark.parametrize('settings', [None, {}, dict(classes=2)], ids=['files', 'memory', 'some'])
def test_other_pixels_of_the_same_labels_make_a_cache_stale(cfg, tmp_path, settings):
    cfg = cfg if settings is None else in_memory(cfg, **settings)
    write(tmp_path / 'c.pt', cfg)
    check_cache(cfg)
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(tmp_path / 'data/cat/0.png')
    with pytest.raises(ConfigError, match='the images'):
        check_cache(cfg)


def test_a_flipped_bit_is_found(cfg, tmp_path):
    path = write(tmp_path / 'c.pt', cfg)
    logits, _ = read_cache(path)
    first = logits.flatten()[:8].numpy().tobytes()
    content = bytearray(path.read_bytes())
    place = content.index(first)
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match='c.pt is damaged: its values are not those'):
        read_cache(path)


def test_renamed_or_moved_images_make_a_cache_stale(cfg, tmp_path):
    write(tmp_path / 'c.pt', cfg)
    check_data(cfg)
    check_cache(cfg)
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(tmp_path / 'data/cat/new.png')
    (tmp_path / 'data/hen/0.png').unlink()
    with pytest.raises(ConfigError, match='the labels in their order'):
        check_cache(cfg)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', ['cannot', 'cache_teacher.py']),
        (dict(logits=1), ['no cache of this version', 'None']),
        (dict(format=FORMAT, header=dict(count=1)), ['incomplete']),
        ('logits of another shape', ['no logits of (1, 12, 3)']),
        ('code', ['no cache that can be read']),
    ],
)
def test_what_is_no_cache_is_named(cfg, tmp_path, content, words):
    path = tmp_path / 'c.pt'
    if isinstance(content, bytes):
        path.write_bytes(content)
        words = ['no cache that can be read', words[1]]
    elif content == 'code':
        torch.save(dict(format=FORMAT, code=Evil(tmp_path / 'executed')), path)
    elif isinstance(content, str):
        header = {**describe_data(cfg), **OF_TEACHER, 'content': '0'}
        torch.save(dict(format=FORMAT, header=header, logits=torch.zeros(2, 12, 3)), path)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigError) as caught:
        read_cache(path)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / 'executed').exists()


class Evil:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_the_digest_of_a_file(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    assert file_digest(tmp_path / 'a').startswith('ba7816bf8f01cfea414140de5dae2223')
