"""Reading class names from annotation files, and moving a data root."""

import json

import pytest

from btkd_det.errors import ConfigError
from btkd_det.preflight import category_names, check_data, load_config

CONFIG = """
data_root = 'old/data/'
train_dataloader = dict(dataset=dict(
    type='RepeatDataset', times=2,
    dataset=dict(type='CocoDataset', data_root=data_root, ann_file='a.json')))
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
