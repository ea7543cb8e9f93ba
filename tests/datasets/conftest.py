"""Small image sets with the layouts of the real archives."""

import importlib.util

import cv2
import numpy as np
import pytest
from mmpretrain.datasets import CIFAR100, BaseDataset

from tests.shared_data import SHARED_DATA, absent

WNIDS = ('n02124075', 'n04067472', 'n01443537')
WORDS = ('Egyptian cat', 'reel', 'goldfish, Carassius auratus')


class Pixels(BaseDataset):
    """Random images that are in memory already, laid out as mmpretrain's CIFAR sets are."""

    METAINFO = dict(classes=('cat', 'dog', 'hen', 'owl'))

    def __init__(self, count=40, size=(8, 8), seed=0, **kwargs):
        self.count, self.size, self.seed = count, size, seed
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        pixels = np.random.default_rng(self.seed).integers(
            0, 256, (self.count, 3, *self.size), dtype=np.uint8
        )
        return [
            dict(img=image, gt_label=(7 * i) % 4)
            for i, image in enumerate(pixels.transpose(0, 2, 3, 1))
        ]


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Three classes with four training and two validation images each, as in the archive."""
    root = tmp_path / 'tiny-imagenet-200'
    pixels = np.random.default_rng(0)
    annotations = []
    for wnid in WNIDS:
        folder = root / 'train' / wnid / 'images'
        folder.mkdir(parents=True)
        (folder.parent / f'{wnid}_boxes.txt').write_text(f'{wnid}_0.JPEG\t0\t0\t9\t9\n')
        for i in range(4):
            image = pixels.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f'{wnid}_{i}.JPEG'), image)
    (root / 'val' / 'images').mkdir(parents=True)
    for i in range(6):
        image = pixels.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(root / 'val' / 'images' / f'val_{i}.JPEG'), image)
        annotations.append(f'val_{i}.JPEG\t{WNIDS[-1 - i % 3]}\t0\t32\t44\t62\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(annotations))
    (root / 'test' / 'images').mkdir(parents=True)
    (root / 'wnids.txt').write_text('\n'.join(WNIDS) + '\n')
    entries = sorted([*zip(WNIDS, WORDS, strict=True), ('n00001740', 'entity')])
    (root / 'words.txt').write_text(''.join(f'{wnid}\t{words}\n' for wnid, words in entries))
    return root


@pytest.fixture(scope='session')
def cifar100_folder(tmp_path_factory):
    """CIFAR-100's real test images, unpacked for the tests, beside an empty training file."""
    script = SHARED_DATA / 'unpack_cifar100.py'
    if not script.is_file():
        pytest.skip(absent('CIFAR-100'))
    spec = importlib.util.spec_from_file_location('unpack_cifar100', script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp('cifar100')
    folder = root / CIFAR100.base_folder
    folder.mkdir()
    (folder / 'test').write_bytes(module.original_bytes('test'))
    (folder / 'train').touch()
    return root


@pytest.fixture
def cifar100(cifar100_folder, monkeypatch):
    """Config of mmpretrain's data set of the test images, which does not ask for the others."""
    monkeypatch.setattr(CIFAR100, 'train_list', [])
    return dict(type='mmpretrain.CIFAR100', data_root=str(cifar100_folder), split='test')
