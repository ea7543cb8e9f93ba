"""How long, how fast and on what: the training protocol of each data set."""

from typing import NamedTuple

from ..checks import check_choice
from .data import (
    CIFAR10,
    CIFAR100,
    FOLDER,
    IMAGENET,
    TINY_IMAGENET,
    Images,
    at_imagenet_size,
)
from .networks import CIFAR_NETWORKS, LARGE, ZOO, cifar_network, large_network

SAME_FAMILY = (
    ('resnet56', 'resnet20'),
    ('resnet110', 'resnet32'),
    ('resnet110', 'resnet20'),
    ('resnet32x4', 'resnet8x4'),
    ('wrn_40_2', 'wrn_16_2'),
    ('wrn_40_2', 'wrn_40_1'),
    ('vgg13', 'vgg8'),
)
CROSS_FAMILY = (
    ('vgg13', 'mobilenetv2'),
    ('resnet50', 'mobilenetv2'),
    ('resnet50', 'vgg8'),
    ('resnet32x4', 'shufflenetv1'),
    ('resnet32x4', 'shufflenetv2'),
    ('wrn_40_2', 'shufflenetv1'),
)
#: Networks with depthwise or grouped convolutions, which the common protocol trains at 0.01.
SLOW = ('mobilenetv2', 'shufflenetv1', 'shufflenetv2')


_COMMON = 'the common one of CIFAR-100, as in the code of DKD (arXiv 2203.08679)'


class Protocol(NamedTuple):
    """A data set and how its networks are trained.

    Attributes:
        images (Images): The data set and its augmentation.
        pairs (tuple[tuple[str, str]]): Teacher and student.
        network (Callable): Name and number of classes to a model's config.
        networks (Collection[str]): The names that it takes.
        optimizer (dict): Config; its learning rate is for ``batch_size``.
        batch_size (int): Images of a step.
        epochs (int): Of the whole training.
        milestones (tuple[int]): Epochs after which the learning rate is a tenth.
        source (str): Where all this comes from.
        remarks (dict[str, str]): Type of a loss to what readers of its numbers should know.
        balance (tuple[float, float]): Weights of the cross entropy and of KD beside it.
        losses (dict[str, dict]): Type of a loss to arguments that differ from the methods'.
        losses_of (dict[str, dict]): The same by student.
        learning_rates (dict[str, float]): Networks with one of their own.
        zoo (dict[str, str]): Teachers whose weights a model zoo has, and their configs there.
        scales_with_batch (bool): Whether the learning rate is proportional to the batch size.
    """

    images: Images
    pairs: tuple
    network: object
    networks: object
    optimizer: dict
    batch_size: int
    epochs: int
    milestones: tuple
    source: str
    remarks: dict = {}
    balance: tuple = (0.1, 0.9)
    losses: dict = {}
    losses_of: dict = {}
    learning_rates: dict = {}
    zoo: dict = {}
    scales_with_batch: bool = False


_CIFAR100 = Protocol(
    images=CIFAR100,
    pairs=SAME_FAMILY + CROSS_FAMILY,
    network=cifar_network,
    networks=CIFAR_NETWORKS,
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4),
    batch_size=64,
    epochs=240,
    milestones=(150, 180, 210),
    source=_COMMON,
    learning_rates=dict.fromkeys(SLOW, 0.01),
)
_BTKD = Protocol(
    images=at_imagenet_size(CIFAR100),
    pairs=(('resnet50', 'resnet18'),),
    network=large_network,
    networks=LARGE,
    optimizer=dict(type='Adam', lr=1e-4),
    batch_size=8,
    epochs=300,
    milestones=(),
    source="BTKD's own (arXiv 2412.09874 and its authors' code): 224 x 224 pixels, constant rate",
    remarks=dict(KDLoss="Of KD's T: their code for CIFAR has 4, the paper 5"),
    balance=(0.5, 0.5),
)
_IMAGENET = Protocol(
    images=IMAGENET,
    pairs=(('resnet34', 'resnet18'), ('resnet50', 'mobilenetv1')),
    network=large_network,
    networks=LARGE,
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
    batch_size=256,
    epochs=100,
    milestones=(30, 60, 90),
    source='that of ImageNet in the code of DKD (arXiv 2203.08679), there 0.2 at a batch of 512',
    balance=(0.5, 0.5),
    losses=dict(
        KDLoss=dict(temperature=1.0), DKDLoss=dict(temperature=1.0, beta=0.5, warmup=1 / 100)
    ),
    losses_of=dict(mobilenetv1=dict(DKDLoss=dict(beta=2.0))),
    zoo=ZOO,
    scales_with_batch=True,
)

#: Data set and protocol's name to the protocol; the first one is meant where none is named.
DATASETS = {
    'cifar10': {
        'common': _CIFAR100._replace(images=CIFAR10, source=f'{_COMMON}, on CIFAR-10'),
        'btkd': _BTKD._replace(images=at_imagenet_size(CIFAR10)),
    },
    'cifar100': {'common': _CIFAR100, 'btkd': _BTKD},
    'tiny_imagenet': {
        'common': _CIFAR100._replace(
            images=TINY_IMAGENET, source=f'{_COMMON}, on Tiny-ImageNet at 64 x 64'
        ),
    },
    'imagenet': {'common': _IMAGENET},
}
#: The same, and a folder of one's own: its teachers are trained by their own recipe.
EVERY_DATASET = {
    **DATASETS,
    'folder': {
        'common': _IMAGENET._replace(
            images=FOLDER, zoo={}, source=f"{_IMAGENET.source}, on a folder of one's own"
        )
    },
}


def find_protocol(dataset: str, name: str = 'common') -> Protocol:
    """The protocol of a data set.

    Args:
        dataset (str): A key of :data:`EVERY_DATASET`.
        name (str): ``'common'``, or ``'btkd'`` for the one of BTKD's authors.

    Returns:
        Protocol: How its networks are trained.

    Raises:
        ConfigError: There is no such data set, or it has no such protocol.
    """
    check_choice('dataset', dataset, EVERY_DATASET)
    check_choice('protocol', name, EVERY_DATASET[dataset])
    return EVERY_DATASET[dataset][name]
