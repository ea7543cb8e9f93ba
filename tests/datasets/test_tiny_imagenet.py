import shutil

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from btkd_det.datasets import TinyImageNet
from btkd_det.errors import ConfigError

from .conftest import WNIDS, WORDS


def test_classes_are_the_words_in_the_order_of_wnids(tiny_imagenet):
    dataset = TinyImageNet(str(tiny_imagenet))
    assert dataset.metainfo['classes'] == WORDS
    assert dataset.metainfo['wnids'] == WNIDS


def test_training_images_have_the_class_of_their_folder(tiny_imagenet):
    dataset = TinyImageNet(str(tiny_imagenet), split='train')
    assert len(dataset) == 12
    assert dataset.get_gt_labels().tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.get_cat_ids(4) == [1]
    for i in range(12):
        info = dataset.get_data_info(i)
        assert f'/train/{WNIDS[info["gt_label"]]}/images/' in info['img_path']


def test_validation_images_have_the_class_of_the_annotation_file(tiny_imagenet):
    dataset = TinyImageNet(str(tiny_imagenet), split='val')
    assert dataset.get_gt_labels().tolist() == [2, 1, 0, 2, 1, 0]
    names = [dataset.get_data_info(i)['img_path'].rpartition('/')[2] for i in range(6)]
    assert names == [f'val_{i}.JPEG' for i in range(6)]


def test_builds_from_a_config_and_goes_through_a_pipeline_of_mmpretrain(tiny_imagenet):
    dataset = DATASETS.build(
        dict(
            _scope_='mmpretrain',
            type='btkd_det.TinyImageNet',
            data_root=str(tiny_imagenet),
            split='val',
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
    )
    item = dataset[3]
    expected = cv2.imread(str(tiny_imagenet / 'val' / 'images' / 'val_3.JPEG'))
    assert np.array_equal(item['inputs'].numpy(), expected.transpose(2, 0, 1))
    assert item['data_samples'].gt_label.tolist() == [2]


def test_the_folder_around_the_archive_will_do(tiny_imagenet):
    assert len(TinyImageNet(str(tiny_imagenet.parent))) == 12


@pytest.mark.parametrize(
    ('split', 'missing'),
    [
        ('train', 'wnids.txt'),
        ('train', 'words.txt'),
        ('train', 'train'),
        ('val', 'val/images'),
        ('val', 'val/val_annotations.txt'),
    ],
)
def test_what_is_missing_is_named_with_the_place_where_it_belongs(tiny_imagenet, split, missing):
    path = tiny_imagenet / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ConfigError, match='data_root: no ') as caught:
        TinyImageNet(str(tiny_imagenet), split=split)
    assert f'no {missing} in {tiny_imagenet}' in str(caught.value)
    assert 'tiny-imagenet-200.zip' in str(caught.value)


def test_a_class_without_images_is_an_error(tiny_imagenet):
    shutil.rmtree(tiny_imagenet / 'train' / WNIDS[1])
    with pytest.raises(ConfigError, match=rf'no \*\.JPEG in .*{WNIDS[1]}'):
        TinyImageNet(str(tiny_imagenet))


def test_a_class_without_words_is_an_error(tiny_imagenet):
    (tiny_imagenet / 'words.txt').write_text('n00001740\tentity\n')
    with pytest.raises(ConfigError, match=f'does not name {WNIDS[0]}'):
        TinyImageNet(str(tiny_imagenet))


def test_a_validation_image_of_an_unknown_class_is_an_error(tiny_imagenet):
    (tiny_imagenet / 'val' / 'val_annotations.txt').write_text('val_0.JPEG\tn999\t0\t0\t9\t9\n')
    with pytest.raises(ConfigError, match="val_0.JPEG the class 'n999'"):
        TinyImageNet(str(tiny_imagenet), split='val')


def test_unknown_split(tiny_imagenet):
    with pytest.raises(ConfigError, match="split: 'test'; valid: train, val"):
        TinyImageNet(str(tiny_imagenet), split='test')
