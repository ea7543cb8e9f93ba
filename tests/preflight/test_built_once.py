"""The checks share what they build of the data."""

from urllib.error import URLError

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config

from btkd_det import preflight
from btkd_det.errors import ConfigError
from btkd_det.preflight import unforeseen

from ..robustness.place import Place

LOADERS = ('train_dataloader', 'val_dataloader')


@pytest.fixture
def cfg(tmp_path):
    return Config.fromfile(Place(tmp_path).write()[0])


@pytest.fixture
def built(monkeypatch):
    """The annotation files of the data sets that were built, in order."""
    files, init = [], CocoDataset.__init__

    def counted(self, *args, **kwargs):
        files.append(kwargs['ann_file'])
        init(self, *args, **kwargs)

    monkeypatch.setattr(CocoDataset, '__init__', counted)
    return files


def test_each_data_set_is_built_once(cfg, built):
    found = preflight.check_data(cfg, LOADERS)
    assert preflight.check_samples(cfg, LOADERS, found) == (3, 64, 64)
    assert len(built) == len(LOADERS)
    # By itself it has to build them.
    assert preflight.check_samples(cfg, LOADERS) == (3, 64, 64)
    assert built[len(LOADERS) :] == ['train.json', 'val.json']


def test_what_is_wrapped_around_a_data_set_is_built_too(cfg, built):
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    found = preflight.check_data(cfg, LOADERS)
    assert preflight.check_samples(cfg, LOADERS, found) == (3, 64, 64)
    assert built.count('train.json') == 1
    cfg.train_dataloader.dataset.timess = 3
    with pytest.raises(ConfigError, match='train_dataloader.dataset: RepeatDataset .*timess'):
        preflight.check_samples(cfg, LOADERS, found)


def test_a_download_that_fails_while_training_begins_says_what_to_do():
    line = unforeseen(URLError('Name or service not known'))
    assert line.startswith('a file could not be downloaded (URLError: <urlopen error Name or')
    assert 'init_cfg.checkpoint, or init_cfg=None' in line
    assert 'BTKD_DET_TRACEBACK' in unforeseen(KeyError('x'))
