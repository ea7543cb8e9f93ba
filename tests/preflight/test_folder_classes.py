"""MMPretrain numbers labels by folders: names in another order would stand for other classes."""

import pytest

from btkd_det.errors import ConfigError
from btkd_det.preflight.data_files import check_files

pytest.importorskip('mmpretrain.datasets', reason='MMPretrain is not installed')
from mmengine.registry import DATASETS


@pytest.fixture
def root(tmp_path):
    for split in ('train', 'val'):
        for name in ('disc', 'box', 'wedge'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / '0.jpg').touch()
    return tmp_path


def data(root, names, kind='mmpretrain.ImageNet', **keys):
    return dict(type=kind, data_root=str(root), classes=names, **keys)


@pytest.mark.parametrize(
    ('kind', 'keys'),
    [
        ('mmpretrain.ImageNet', dict(split='train')),
        ('mmpretrain.CustomDataset', dict(data_prefix='train')),
        ('mmpretrain.CustomDataset', dict(data_prefix=dict(img_path='val'))),
        ('mmpretrain.ImageNet21k', dict(data_prefix='train')),
    ],
)
def test_another_order_than_the_folders_is_refused(root, kind, keys):
    with pytest.raises(ConfigError) as found:
        check_files(data(root, ['disc', 'box', 'wedge'], kind, **keys), 'train', 'mmpretrain')
    assert str(found.value) == (
        'train.classes: disc, box, wedge, but the labels are numbered by the folders in '
        'alphabetical order, box, disc, wedge, so that every name would stand for another class; '
        "valid: classes=['box', 'disc', 'wedge']"
    )
    check_files(data(root, ['box', 'disc', 'wedge'], kind, **keys), 'train', 'mmpretrain')


def test_that_is_how_the_data_set_numbers_them(root):
    built = DATASETS.build(data(root, ['disc', 'box', 'wedge'], split='train', pipeline=[]))
    labels = {built[i]['img_path'].split('/')[-2]: built[i]['gt_label'] for i in range(3)}
    assert labels == dict(box=0, disc=1, wedge=2)


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '__MACOSX', '@eaDir'])
@pytest.mark.parametrize('classes', [None, ['box', 'disc', 'wedge']])
def test_a_folder_that_a_program_left_is_refused(root, name, classes):
    (root / 'train' / name).mkdir()
    kind = 'mmpretrain.CustomDataset'
    built = DATASETS.build(data(root, None, kind, data_prefix='train', pipeline=[]))
    assert name in built.metainfo['classes']
    with pytest.raises(ConfigError) as found:
        check_files(data(root, classes, data_prefix='train'), 'train', 'mmpretrain')
    assert str(found.value).startswith(f'train: {root}/train/{name}: no folder of a class, but')
    check_files(data(root, classes, data_prefix='val'), 'val', 'mmpretrain')


def test_other_names_than_the_folders_are_a_users_own(root):
    check_files(data(root, ['a', 'b', 'c'], split='train'), 'train', 'mmpretrain')


def test_a_list_of_files_numbers_by_itself(root):
    (root / 'meta').mkdir()
    (root / 'meta' / 'train.txt').write_text('disc/0.jpg 0\nbox/0.jpg 1\nwedge/0.jpg 2\n')
    names = ['disc', 'box', 'wedge']
    check_files(data(root, names, split='train'), 'train', 'mmpretrain')
    check_files(
        data(root, names, ann_file='meta/train.txt', data_prefix='train'), 'x', 'mmpretrain'
    )
