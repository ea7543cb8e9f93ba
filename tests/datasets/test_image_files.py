import pytest

from btkd_det.datasets import check_image_files
from btkd_det.errors import ConfigError

FIELD = 'train_dataloader.dataset'


@pytest.mark.parametrize('scope', ['', 'mmpretrain.'])
@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('CIFAR10', 'cifar-10-batches-py/data_batch_1'),
        ('CIFAR100', 'cifar-100-python/train'),
    ],
)
def test_missing_cifar_files_are_named_with_their_place_and_source(tmp_path, scope, name, file):
    with pytest.raises(ConfigError) as caught:
        check_image_files(dict(type=scope + name, data_root=str(tmp_path)), FIELD)
    message = str(caught.value)
    assert message.startswith(f'{FIELD}.data_root: no file {tmp_path / file}')
    assert f'python.tar.gz in {tmp_path}' in message
    assert 'download=True' in message


def test_one_missing_batch_is_found(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    for name in ('data_batch_1', 'data_batch_2', 'data_batch_3', 'data_batch_5', 'test_batch'):
        (folder / name).touch()
    with pytest.raises(ConfigError, match='no file .*data_batch_4 '):
        check_image_files(dict(type='CIFAR10', data_root=str(tmp_path)), FIELD)
    (folder / 'data_batch_4').touch()
    assert check_image_files(dict(type='CIFAR10', data_root=str(tmp_path)), FIELD)


def test_a_download_is_left_to_mmpretrain_only_where_it_is_asked_for(tmp_path):
    wanted = dict(type='CIFAR100', data_root=str(tmp_path))
    assert check_image_files({**wanted, 'download': True}, FIELD)
    with pytest.raises(ConfigError, match='no file'):
        check_image_files({**wanted, 'download': False}, FIELD)


def test_cifar_below_a_data_prefix(tmp_path):
    folder = tmp_path / 'sets' / 'cifar-100-python'
    folder.mkdir(parents=True)
    for name in ('train', 'test'):
        (folder / name).touch()
    wanted = dict(type='CIFAR100', data_root=str(tmp_path))
    assert check_image_files({**wanted, 'data_prefix': 'sets'}, FIELD)
    with pytest.raises(ConfigError):
        check_image_files(wanted, FIELD)


def test_tiny_imagenet(tmp_path, tiny_imagenet):
    wanted = dict(type='btkd_det.TinyImageNet', split='val')
    assert check_image_files({**wanted, 'data_root': str(tiny_imagenet)}, FIELD)
    with pytest.raises(ConfigError, match=rf'{FIELD}.data_root: no wnids.txt in .*/elsewhere'):
        check_image_files({**wanted, 'data_root': str(tmp_path / 'elsewhere')}, FIELD)


def test_imagenet(tmp_path):
    wanted = dict(type='ImageNet', data_root=str(tmp_path), split='train')
    with pytest.raises(ConfigError, match='put the images of ImageNet-1K there'):
        check_image_files(wanted, FIELD)
    (tmp_path / 'train').mkdir()
    assert check_image_files(wanted, FIELD)


@pytest.mark.parametrize(
    'dataset',
    [
        dict(type='mmdet.CocoDataset', data_root='nowhere'),
        dict(type='mine.CIFAR100', data_root='nowhere'),
        dict(type='CIFAR100', data_root='s3://bucket/cifar100'),
    ],
)
def test_of_other_sets_nothing_is_claimed(dataset):
    assert check_image_files(dataset, FIELD) is False


def test_a_class_for_a_type(tmp_path):
    from mmpretrain.datasets import CIFAR100

    with pytest.raises(ConfigError, match='cifar-100-python'):
        check_image_files(dict(type=CIFAR100, data_root=str(tmp_path)), FIELD)
