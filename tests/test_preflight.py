"""Reading class names from annotation files, and moving a data root."""

import json

import pytest
from mmengine.config import Config
from PIL import Image

from btkd_det import preflight
from btkd_det.errors import ConfigError
from btkd_det.preflight import category_names, check_data, load_config

CONFIG = """
data_root = 'old/data/'
train_dataloader = dict(batch_size=2, sampler=dict(type='DefaultSampler'), dataset=dict(
    type='RepeatDataset', times=2,
    dataset=dict(
        type='CocoDataset', data_root=data_root, data_prefix=dict(img=''), ann_file='a.json')))
val_evaluator = [dict(type='CocoMetric', ann_file=data_root + 'a.json')]
model = dict(type='X')
"""


def write(path, **content):
    path.write_text(json.dumps(content))
    return path


def test_category_names_come_in_the_order_of_the_file(tmp_path):
    categories = [dict(id=7, name='hen', parts=['beak', ']']), dict(id=2, name='a "cat"')]
    path = write(tmp_path / 'a.json', images=[], categories=categories, annotations=[])
    assert category_names(path) == ['hen', 'a "cat"']


@pytest.mark.parametrize('text', ['', '{}', '{"categories": 3}', '{"categories": [', '[]'])
def test_a_file_without_categories_gives_none(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_text(text)
    assert category_names(path) is None


def test_data_root_moves_data_sets_and_evaluators(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text(CONFIG)
    cfg = load_config(str(path), dict(data_root='/new'))
    assert cfg.train_dataloader.dataset.dataset.data_root == '/new/'
    assert cfg.val_evaluator[0].ann_file == '/new/a.json'


def test_a_wrapped_data_set_is_checked_in_its_place(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text(CONFIG)
    cfg = load_config(str(path), dict(data_root=str(tmp_path)))
    with pytest.raises(ConfigError, match=r'train_dataloader\.dataset\.dataset\.ann_file: no file'):
        check_data(cfg)
    write(tmp_path / 'a.json', categories=[dict(id=1, name='hen')])
    with pytest.raises(ConfigError, match=r'does not list the classes person, .*categories: hen'):
        check_data(cfg)
    cfg.train_dataloader.dataset.dataset.metainfo = dict(classes=('hen',))
    with pytest.raises(ConfigError, match=r'ann_file: .*a\.json: images: missing'):
        check_data(cfg)
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 3, 4], area=12, iscrowd=0)
    image = dict(id=1, file_name='1.png', width=9, height=9)
    content = dict(images=[image], annotations=[box], categories=[dict(id=1, name='hen')])
    write(tmp_path / 'a.json', **content)
    with pytest.raises(ConfigError, match=r'dataset\.dataset: .*1\.png: no such file \(1 of 1'):
        check_data(cfg)
    Image.new('RGB', (9, 9)).save(tmp_path / '1.png')
    check_data(cfg)


def test_a_file_without_categories_is_refused(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text(CONFIG)
    (tmp_path / 'a.json').write_text('{"images": []}')
    with pytest.raises(ConfigError, match='has no list "categories"'):
        check_data(load_config(str(path), dict(data_root=str(tmp_path))))


def test_a_config_that_does_not_load_is_named(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text('model = dict(\n')
    with pytest.raises(ConfigError, match=r'CONFIG: .*c\.py does not load: SyntaxError'):
        load_config(str(path))


IKD = dict(type='btkd_det.IKDLoss', num_classes=10)


@pytest.mark.parametrize(
    ('loss', 'train_cfg', 'words'),
    [
        ({}, dict(max_epochs=1), ['logits.collect_epochs: 1', 'max_epochs is 1']),
        (dict(collect_epochs=3), dict(max_epochs=3), ['logits.collect_epochs: 3']),
        ({}, dict(by_epoch=False, max_iters=100), ['collect_epochs: 1', 'one epoch to MMEngine']),
        (dict(collect_iters=100), dict(by_epoch=False, max_iters=100), ['collect_iters: 100']),
        ({}, dict(max_epochs=2), None),
        (dict(class_means='means.pt'), dict(max_epochs=1), None),
        (dict(collect_iters=99), dict(by_epoch=False, max_iters=100), None),
        (dict(collect_iters=5), dict(max_epochs=1), None),
    ],
)
@pytest.mark.parametrize('as_list', [False, True])
def test_ikd_has_to_end_collecting_before_training_ends(loss, train_cfg, words, as_list):
    loss = dict(IKD, **loss)
    site = [dict(type='btkd_det.KDLoss'), loss] if as_list else loss
    distill = dict(logits=dict(losses=site, stop_at=0.8) if as_list else site)
    cfg = Config(dict(model=dict(distill=distill), train_cfg=train_cfg))
    if words is None:
        preflight.check_collecting(cfg)
        return
    with pytest.raises(ConfigError, match='^model.distill.logits') as caught:
        preflight.check_collecting(cfg)
    for word in words:
        assert word in str(caught.value)


def test_images_in_memory_take_no_workers():
    images = dict(type='btkd_det.InMemoryImages', dataset=dict(type='CIFAR100'))
    loader = dict(batch_size=8, num_workers=2, dataset=images)
    with pytest.raises(ConfigError, match='^train_dataloader.num_workers: 2.*num_workers=0'):
        preflight.check_data(Config(dict(train_dataloader=loader)))
