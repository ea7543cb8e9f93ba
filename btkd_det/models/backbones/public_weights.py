"""Public weights of the CIFAR ResNets under the keys of the classifiers here."""

import re

from torch import Tensor

#: Keys of He et al.'s CIFAR networks as most public code names them, and ours.
_RULES = (
    (r'conv1\.(.+)', 'backbone.stem.0.{1}'),
    (r'bn1\.(.+)', 'backbone.stem.1.{1}'),
    (r'layer([123])\.(\d+)\.conv([12])\.(.+)', 'backbone.stages.{1}.{2}.branch.{3}.0.{4}'),
    (r'layer([123])\.(\d+)\.bn([12])\.(.+)', 'backbone.stages.{1}.{2}.branch.{3}.1.{4}'),
    (r'(?:linear|fc)\.(.+)', 'head.fc.{1}'),
)


def rename_public_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a public CIFAR ResNet for ``CIFARResNet(shortcut='A')`` and a linear head.

    Args:
        state (dict[str, Tensor]): With the keys ``conv1``, ``bn1``, ``layer1.0.conv1``, ...,
            ``linear`` or ``fc``, with or without ``module.`` before them.

    Returns:
        dict[str, Tensor]: The same tensors, for
        :func:`~btkd_det.models.backbones.cifar_classifier_config` and
        :func:`~btkd_det.models.backbones.build_cifar_classifier`.

    Raises:
        ValueError: A key is of another network.
    """
    return {_renamed(key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    for pattern, name in _RULES:
        found = re.fullmatch(pattern, key.removeprefix('module.'))
        if found:
            parts = list(found.groups())
            # Stages and convolutions count from 1 there and from 0 here.
            if len(parts) == 4:
                parts[0], parts[2] = int(parts[0]) - 1, int(parts[2]) - 1
            return name.format(None, *parts)
    raise ValueError(f'{key!r} is no key of a CIFAR ResNet with shortcuts without weights')
