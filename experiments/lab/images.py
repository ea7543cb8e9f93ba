"""The images of a study: a part of a set, its labels corrupted on purpose, in memory."""

import functools
import json

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from torch.utils.data import DataLoader, Dataset

from btkd_det.errors import ConfigError
from btkd_det.registry import DATASETS

PARTS = ('train', 'val', 'test')


@DATASETS.register_module()
class StudySplit(Dataset):
    """Some classes and a part of a classification set, with wrong labels if asked for.

    Args:
        dataset (dict): Config of a data set of mmpretrain.
        part (str): ``'train'``: all images but the last ``val_per_class`` of each class;
            ``'val'``: those; ``'test'``: all images.
        classes (int, optional): Keep so many of the first classes. Defaults to None: all.
        val_per_class (int): Images of each class that validate. Defaults to 0.
        label_noise (float): Share of the images whose label is replaced by another class, each
            as likely. The number of them is exact, up to rounding; those that are wrong at
            one share are wrong, in the same way, at every larger one. Defaults to 0.
        noise_seed (int): Of the choice of images and labels. Defaults to 0.

    Attributes:
        clean_labels (ndarray): (N,) int64, before the corruption.
        labels (ndarray): (N,) int64.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(self, dataset, part, classes=None, val_per_class=0, label_noise=0.0, noise_seed=0):
        if part not in PARTS:
            raise ConfigError(f'part: {part!r}; valid: {", ".join(PARTS)}')
        if not isinstance(label_noise, (int, float)) or not 0 <= label_noise <= 1:
            raise ConfigError(f'label_noise: {label_noise!r}; valid: a share, 0 to 1')
        self.dataset = build_dataset(dataset)
        names = tuple(self.dataset.metainfo['classes'])
        if classes is not None and classes not in range(2, len(names) + 1):
            raise ConfigError(f'classes: {classes!r}; valid: None or 2 to {len(names)}')
        self.metainfo = dict(self.dataset.metainfo, classes=names[:classes])
        labels = np.array(self.dataset.get_gt_labels(), dtype=np.int64)
        self._rows = _rows_of(labels, part, len(names[:classes]), val_per_class)
        self.clean_labels = labels[self._rows]
        seed = [noise_seed, PARTS.index(part)]
        self.labels = corrupt(self.clean_labels, label_noise, len(names[:classes]), seed)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, idx):
        """The data set's own item, loaded but not packed, with the label of this set."""
        return self.get_data_info(idx)

    def get_data_info(self, idx):
        """dict: What the data set knows of an image, index and label being those of this set."""
        info = self.dataset.get_data_info(int(self._rows[idx]))
        return {**info, 'sample_idx': int(idx), 'gt_label': int(self.labels[idx])}

    def get_cat_ids(self, idx):
        """list[int]: The label of an image."""
        return [int(self.labels[idx])]


def corrupt(labels, share, num_classes, seed):
    """Replace a share of labels by another class each, all others as likely.

    Args:
        labels (ndarray): (N,) int.
        share (float): 0 to 1.
        num_classes (int): C.
        seed (int | Sequence[int]): Of what is drawn.

    Returns:
        ndarray: (N,), a new one.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    other = (labels + rng.integers(1, num_classes, len(labels))) % num_classes
    wrong = order[: round(share * len(labels))]
    corrupted = labels.copy()
    corrupted[wrong] = other[wrong]
    return corrupted


def build_dataset(cfg):
    """Build a data set once in a process, and give the same one each time it is asked for.

    Processes that are forked later share its memory.

    Args:
        cfg (dict): Config of a data set, in JSON's types.

    Returns:
        Dataset: The data set.
    """
    return _build_dataset(json.dumps(cfg, sort_keys=True))


@functools.cache
def _build_dataset(text):
    cfg = json.loads(text)
    return DATASETS.build({'_scope_': 'mmpretrain', **cfg})


def build_loader(cfg, seed):
    """A data loader over a data set that is built once; no worker processes.

    Args:
        cfg (dict): ``batch_size``, ``sampler`` with its ``shuffle``, ``dataset``.
        seed (int): Of the order of the images.

    Returns:
        DataLoader: As MMEngine's runner builds it.
    """
    dataset = build_dataset(cfg['dataset'])
    return DataLoader(
        dataset,
        batch_size=cfg['batch_size'],
        sampler=DefaultSampler(dataset, shuffle=cfg['sampler']['shuffle'], seed=seed),
        collate_fn=pseudo_collate,
    )


def logits_of_images(model, images, view=None, batch_size=250):
    """What a classifier says of all images of a set, or of one of their fixed views.

    Args:
        model (nn.Module): A classifier of mmpretrain.
        images (InMemoryImages): N images.
        view (int, optional): Number of the view; None for the images as they are.
        batch_size (int): Of the forward passes.

    Returns:
        Tensor: (N, C) float32.
    """
    said = []
    model.eval()
    with torch.inference_mode():
        for rows in torch.arange(len(images)).split(batch_size):
            batch = images.__getitems__(rows) if view is None else images.get_view(rows, view)
            data = model.data_preprocessor(batch, training=False)
            said.append(model(data['inputs'], mode='tensor').float().cpu())
    return torch.cat(said)


def _rows_of(labels, part, num_classes, val_per_class):
    """Indices (N,) of the images of a part, in their order."""
    kept = np.flatnonzero(labels < num_classes)
    if part == 'test':
        return kept
    last = [np.flatnonzero(labels == k)[-val_per_class:] for k in range(num_classes)]
    validating = np.isin(kept, np.concatenate(last)) if val_per_class else np.zeros(len(kept), bool)
    if validating.all():
        raise ConfigError(f'val_per_class: {val_per_class!r} leaves no image to train on')
    return kept[validating if part == 'val' else ~validating]
