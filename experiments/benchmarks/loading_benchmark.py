"""How fast 32x32 images come in, in memory and one by one, beside a training step on them."""

import statistics

import numpy as np
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from torch.utils.data import DataLoader

from btkd_det.datasets.in_memory_images import InMemoryImages, data_samples
from btkd_det.models.backbones import cifar_classifier_config
from btkd_det.recipes.data import CIFAR100, loaders, preprocessor

from .measure import alternate, environment, on_threads, summary

BATCH = 64
CLASSES = 100
NETWORK = 'wrn_16_2'
GOALS = dict(share_of_step_on_a_cpu=0.05, images_per_second_of_the_recipe_on_a_gpu=20000)
# Steps between two waits for the device, as a training does not wait after each.
STRETCH = 10


class RandomPixels(BaseDataset):
    """Random images with the size, count and storage of a CIFAR training set.

    Args:
        count (int): Images.
        seed (int): Of the pixels.
        **kwargs: As for ``mmengine.dataset.BaseDataset``.
    """

    METAINFO = dict(classes=tuple(f'class {i}' for i in range(CLASSES)))

    def __init__(self, count, seed, **kwargs):
        self.count, self.seed = count, seed
        super().__init__(**kwargs)

    def load_data_list(self):
        """List the images, stored as three planes and seen as (32, 32, 3), with labels."""
        pixels = np.random.default_rng(self.seed).integers(
            0, 256, (self.count, 3, 32, 32), dtype=np.uint8
        )
        return [
            dict(img=image, gt_label=i % CLASSES)
            for i, image in enumerate(pixels.transpose(0, 2, 3, 1))
        ]


def add_arguments(parser):
    """Give an argument parser what :func:`run` takes.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--threads', type=int, help='of PyTorch on the CPU')
    parser.add_argument('--images', type=int, default=50000, help='in the set')


def run(device='cpu', rounds=20, threads=None, images=50000, seed=0):
    """Time a batch of both loaders, and a training step of WRN-16-2 in mmpretrain's classifier.

    A step is everything that follows loading: preprocessing, forward, backward, SGD. Both loaders
    run in the process that trains, and draw the same crops and flips in distribution.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``, of model and images in memory.
        rounds (int): Counted calls of each candidate.
        threads (int, optional): PyTorch's threads on the CPU; as they are by default.
        images (int): In the set.
        seed (int): Of images, weights and draws.

    Returns:
        dict: ``setting``, ``environment``, ``goals``; ``seconds`` of each candidate for one batch;
        ``images_per_second`` of the loaders and of the whole recipe, loading included; and
        ``share_of_step``, the part of loading and step together that each loader takes.
    """
    with on_threads(threads), DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(seed)
        seconds = _measure(device, rounds, images, seed)
        found = _environment(device)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    loaders = ('one by one', 'in memory')
    return dict(
        setting=dict(
            network=NETWORK,
            batch=BATCH,
            images=images,
            size=[32, 32],
            augmentation='crop with padding 4, flip',
            workers=0,
            rounds=rounds,
            seed=seed,
        ),
        environment=found,
        goals=GOALS,
        seconds={name: summary(values) for name, values in seconds.items()},
        images_per_second={
            name: round(BATCH / median[name]) for name in (*loaders, 'in memory and step')
        },
        share_of_step={
            name: round(median[name] / (median[name] + median['step']), 4) for name in loaders
        },
    )


def _measure(device, rounds, images, seed):
    per_image = loaders(CIFAR100, '', BATCH)[0]['dataset']['pipeline']
    one_by_one = RandomPixels(images, seed, pipeline=per_image)
    in_memory = InMemoryImages(RandomPixels(images, seed), crop_padding=4, flip=0.5, device=device)
    batches = {'one by one': _endless(one_by_one), 'in memory': _endless(in_memory)}
    step = _step(device)
    fixed = next(batches['in memory'])
    rows, labels = list(range(BATCH)), in_memory.labels[:BATCH]

    def stretch(_):
        for _ in range(STRETCH):
            step(next(batches['in memory']))

    candidates = {
        'one by one': lambda _: next(batches['one by one']),
        'in memory': lambda _: next(batches['in memory']),
        'in memory: data samples': lambda _: data_samples(rows, labels),
        'step': lambda _: step(fixed),
    }
    seconds = alternate(candidates, rounds, device=device)
    whole = alternate({'in memory and step': stretch}, max(rounds // 5, 2), 1, device)
    return {**seconds, **{name: [s / STRETCH for s in values] for name, values in whole.items()}}


def _endless(dataset):
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, collate_fn=pseudo_collate)
    while True:
        yield from loader


def _step(device):
    """A training step of the common recipe on one batch, as MMEngine's loop takes it."""
    model = MODELS.build(
        dict(
            cifar_classifier_config(NETWORK, CLASSES),
            data_preprocessor=preprocessor(CIFAR100, CLASSES),
        )
    )
    model = model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    wrapper = OptimWrapper(optimizer)
    return lambda batch: model.train_step(batch, wrapper)


def _environment(device):
    import mmpretrain

    return dict(environment(device), mmpretrain=mmpretrain.__version__)
