"""Tiny-ImageNet as its archive has it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from ..checks import check_choice
from ..errors import ConfigError
from ..registry import DATASETS
from .image_files import find_tiny_imagenet

SPLITS = ('train', 'val')


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny-ImageNet: 200 classes of ImageNet, 64 x 64 pixels, 500 images each to train on.

    Reads the layout of http://cs231n.stanford.edu/tiny-imagenet-200.zip, the labels of the
    validation images from ``val/val_annotations.txt``. Labels count the lines of ``wnids.txt``;
    the class names are those of ``words.txt``, and ``metainfo['wnids']`` has the identifiers.
    The archive's test images have no labels and are left out.

    Args:
        data_root (str): The folder ``tiny-imagenet-200``, or the one that it lies in.
        split (str): ``'train'`` or ``'val'``. Defaults to ``'train'``.
        metainfo (dict, optional): Added to the class names, or instead of them.
        pipeline (Sequence): Transforms, as for any data set of mmpretrain.
        **kwargs: As for ``mmengine.dataset.BaseDataset``.

    Raises:
        ConfigError: A file or folder is missing, or one of them lacks a class.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        metainfo: dict[str, Any] | None = None,
        pipeline: Sequence = (),
        **kwargs: Any,
    ) -> None:
        check_choice('split', split, SPLITS)
        self.split = split
        root = find_tiny_imagenet(Path(data_root).expanduser(), split, 'dataset')
        wnids = tuple((root / 'wnids.txt').read_text().split())
        names = dict(line.split('\t', 1) for line in _lines(root / 'words.txt'))
        unnamed = [wnid for wnid in wnids if wnid not in names]
        if unnamed:
            raise ConfigError(f'dataset.data_root: {root / "words.txt"} does not name {unnamed[0]}')
        classes = tuple(names[wnid].strip() for wnid in wnids)
        super().__init__(
            ann_file='',
            metainfo={'classes': classes, 'wnids': wnids, **(metainfo or {})},
            data_root=str(root),
            data_prefix=dict(img_path=''),
            pipeline=list(pipeline),
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images of the split with their labels.

        Returns:
            list[dict]: ``img_path`` and ``gt_label``, class by class for the training images,
            in the order of the annotation file for the others.
        """
        root = Path(self.data_root)
        labels = {wnid: label for label, wnid in enumerate(self._metainfo['wnids'])}
        if self.split == 'val':
            return list(_validation_images(root / 'val', labels))
        return [
            dict(img_path=str(path), gt_label=label)
            for wnid, label in labels.items()
            for path in _training_images(root / 'train' / wnid / 'images')
        ]

    def get_cat_ids(self, idx: Any) -> list[Any]:
        """The class of an image, as a list of one label."""
        return [self.get_data_info(idx)['gt_label']]

    def get_gt_labels(self) -> Any:
        """The labels of all images: int64 array (N,)."""
        return np.array([self.get_cat_ids(i)[0] for i in range(len(self))])


def _training_images(folder: str | Path) -> Any:
    paths = sorted(folder.glob('*.JPEG'))
    if not paths:
        raise ConfigError(
            f'dataset.data_root: no *.JPEG in {folder}; valid is the unpacked archive with every '
            'class of wnids.txt'
        )
    return paths


def _validation_images(folder: str | Path, labels: Any) -> Iterator[Any]:
    annotations = folder / 'val_annotations.txt'
    for line in _lines(annotations):
        name, wnid, *_ = line.split('\t')
        if wnid not in labels:
            raise ConfigError(
                f'dataset.data_root: {annotations} gives {name} the class {wnid!r}, which '
                'wnids.txt does not list'
            )
        yield dict(img_path=str(folder / 'images' / name), gt_label=labels[wnid])


def _lines(path: str | Path) -> list[Any]:
    return [line for line in path.read_text().splitlines() if line.strip()]
