"""Evaluators that look at other annotations than the data have, and VOC's folders and names."""

import json

import pytest
from mmengine.config import Config
from PIL import Image

from btkd_det.errors import ConfigError
from btkd_det.preflight import check_data, check_types

SAMPLER = dict(type='DefaultSampler', shuffle=False)
CATEGORIES = [dict(id=1, name='cat'), dict(id=2, name='dog')]


def write(path, ids=(1, 2, 3), categories=CATEGORIES, name='{}.png'):
    images = [dict(id=i, file_name=name.format(i), width=8, height=8) for i in ids]
    path.write_text(json.dumps(dict(images=images, annotations=[], categories=categories)))
    for image in images:
        draw(path.parent / image['file_name'])
    return str(path)


def draw(path):
    """A small gray picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), 'gray').save(path)


@pytest.fixture
def cfg(tmp_path):
    write(tmp_path / 'val.json')
    dataset = dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        ann_file='val.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=('cat', 'dog')),
    )
    return Config(
        dict(
            default_scope='mmdet',
            val_dataloader=dict(batch_size=1, sampler=SAMPLER, dataset=dataset),
            val_evaluator=dict(type='CocoMetric', ann_file=str(tmp_path / 'val.json')),
        )
    )


@pytest.mark.parametrize(
    ('other', 'words'),
    [
        (dict(ids=(1, 2)), 'does not list 1 images (id 3)'),
        (dict(ids=(1, 2, 3, 4, 5)), 'expects 2 more images (id 4)'),
        (dict(name='other/{}.png'), 'lists other file names for 3 images'),
        (dict(categories=CATEGORIES[::-1] + [dict(id=9, name='hen')]), 'cat, dog'),
        (dict(categories=[dict(id=2, name='cat'), dict(id=1, name='dog')]), '[2, 1]'),
    ],
    ids=['fewer', 'more', 'names', 'categories', 'ids'],
)
@pytest.mark.parametrize('kind', ['one', 'list', 'test', 'around one', 'around a list'])
def test_an_evaluator_of_other_annotations_is_refused(cfg, tmp_path, other, words, kind):
    check_data(cfg, ('val_dataloader',))
    cfg.val_evaluator.ann_file = write(tmp_path / 'other.json', **other)
    field = 'val_evaluator.ann_file'
    if kind == 'list':
        cfg.val_evaluator = [dict(type='Other'), cfg.val_evaluator]
        field = 'val_evaluator[1].ann_file'
    if kind == 'around one':
        cfg.val_evaluator = dict(type='Evaluator', metrics=cfg.val_evaluator)
        field = 'val_evaluator.metrics.ann_file'
    if kind == 'around a list':
        cfg.val_evaluator = dict(metrics=[dict(type='Other'), cfg.val_evaluator])
        field = 'val_evaluator.metrics[1].ann_file'
    if kind == 'test':
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.pop('val_evaluator')
        field = 'test_evaluator.ann_file'
    with pytest.raises(ConfigError) as caught:
        check_data(cfg, ('val_dataloader', 'test_dataloader'))
    assert str(caught.value).startswith(f'{field}: ')
    assert words in str(caught.value)
    assert 'val.json' in str(caught.value)


def test_a_missing_file_is_named_before_training(cfg):
    cfg.val_evaluator.ann_file = 'nowhere.json'
    with pytest.raises(
        ConfigError, match='val_evaluator.ann_file: no file nowhere.json .*val.json'
    ):
        check_data(cfg, ('val_dataloader',))


def test_other_files_of_the_same_images_are_taken(cfg, tmp_path):
    cfg.val_evaluator.ann_file = write(tmp_path / 'corrected.json')
    check_data(cfg, ('val_dataloader',))
    parts = [write(tmp_path / 'a.json', ids=(1,)), write(tmp_path / 'b.json', ids=(2, 3))]
    dataset = dict(cfg.val_dataloader.dataset)
    cfg.val_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(dataset, ann_file=part) for part in parts]
    )
    check_data(cfg, ('val_dataloader',))


def test_each_metric_of_several_data_sets_is_of_its_own(cfg, tmp_path):
    parts = [write(tmp_path / 'a.json', ids=(1,)), write(tmp_path / 'b.json', ids=(2, 3))]
    dataset = dict(cfg.val_dataloader.dataset)
    cfg.val_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(dataset, ann_file=part) for part in parts]
    )
    metrics = [dict(type='CocoMetric', ann_file=part) for part in parts]
    cfg.val_evaluator = dict(
        type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=['a', 'b']
    )
    check_data(cfg, ('val_dataloader',))
    cfg.val_evaluator.metrics = metrics[::-1]
    with pytest.raises(ConfigError, match=r'^val_evaluator.metrics\[0\].ann_file: .*b.json'):
        check_data(cfg, ('val_dataloader',))


def test_an_evaluator_of_no_known_type_is_named(cfg):
    cfg.val_evaluator = dict(type='Evaluater', metrics=cfg.val_evaluator)
    with pytest.raises(ConfigError, match=r"^val_evaluator.type: 'Evaluater'.*'Evaluator'"):
        check_types(cfg)


def test_of_a_part_of_the_data_no_image_may_be_missing(cfg, tmp_path):
    cfg.val_dataloader.dataset.indices = 2
    check_data(cfg, ('val_dataloader',))
    for ids in ((1, 2), (1, 2, 3, 4)):
        cfg.val_evaluator.ann_file = write(tmp_path / 'other.json', ids=ids)
        check_data(cfg, ('val_dataloader',))
    cfg.val_evaluator.ann_file = write(tmp_path / 'lacking.json', ids=(2, 3))
    with pytest.raises(ConfigError, match=r'does not list 1 images \(id 1\)'):
        check_data(cfg, ('val_dataloader',))


def test_a_damaged_file_is_named(cfg, tmp_path):
    cfg.val_evaluator.ann_file = str(tmp_path / 'damaged.json')
    (tmp_path / 'damaged.json').write_text('{"images": [')
    with pytest.raises(ConfigError, match=r'val_evaluator.ann_file: .*damaged.json: '):
        check_data(cfg, ('val_dataloader',))


BOX = '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>'
OBJECT = f'<object><name>{{}}</name>{BOX}</object>'
XML = f'<annotation>{OBJECT}{OBJECT}</annotation>'


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'VOC2007'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    (root / 'ImageSets/Main/train.txt').write_text('000001\n000002\n')
    for i in (1, 2):
        (root / f'Annotations/00000{i}.xml').write_text(XML.format('cat', 'dog'))
        draw(root / f'JPEGImages/00000{i}.jpg')
    dataset = dict(
        type='VOCDataset',
        data_root=str(tmp_path),
        ann_file='VOC2007/ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=('cat', 'dog')),
    )
    return Config(
        dict(
            default_scope='mmdet',
            train_dataloader=dict(batch_size=1, sampler=SAMPLER, dataset=dataset),
        )
    )


@pytest.mark.parametrize('wrapped', [False, True])
def test_voc_is_looked_at(voc, tmp_path, wrapped, caplog):
    inner = voc.train_dataloader.dataset
    field = 'train_dataloader.dataset'
    if wrapped:
        voc.train_dataloader.dataset = dict(type='RepeatDataset', times=3, dataset=inner)
        field += '.dataset'
        inner = voc.train_dataloader.dataset.dataset
    check_data(voc)
    inner.metainfo = dict(classes=('tabby', 'hound'))
    with pytest.raises(ConfigError) as caught:
        check_data(voc)
    assert str(caught.value).startswith(f'{field}.metainfo.classes: tabby, hound, but the objects')
    assert 'called cat, dog' in str(caught.value)
    inner.metainfo = dict(classes=('cat', 'dog'))
    (tmp_path / 'VOC2007/JPEGImages').rename(tmp_path / 'VOC2007/pictures')
    with pytest.raises(ConfigError, match='img_subdir: no folder .*VOC2007/JPEGImages'):
        check_data(voc)
    inner.img_subdir = 'pictures'
    check_data(voc)
    inner.ann_subdir = 'xml'
    with pytest.raises(ConfigError, match='ann_subdir: no folder .*VOC2007/xml'):
        check_data(voc)
