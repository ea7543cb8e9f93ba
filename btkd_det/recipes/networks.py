"""Students and teachers as configs of mmpretrain's ImageClassifier."""

from typing import Any

from ..checks import check_choice
from ..models.backbones import CIFAR_NETWORKS, cifar_classifier_config, image_classifier_config

#: ImageNet's networks: the backbone, and the channels that its head sees.
LARGE = {
    'resnet18': (dict(type='mmpretrain.ResNet', depth=18), 512),
    'resnet34': (dict(type='mmpretrain.ResNet', depth=34), 512),
    'resnet50': (dict(type='mmpretrain.ResNet', depth=50), 2048),
    # mmpretrain has no MobileNetV1 of its own; this one needs the package timm.
    'mobilenetv1': (
        dict(type='mmpretrain.TIMMBackbone', model_name='mobilenetv1_100', features_only=True),
        1024,
    ),
}
#: Teachers whose weights mmpretrain's model zoo has, and their configs there.
ZOO = {
    'resnet34': 'mmpretrain::resnet/resnet34_8xb32_in1k.py',
    'resnet50': 'mmpretrain::resnet/resnet50_8xb32_in1k.py',
}


def cifar_network(name: str, num_classes: int, field: str = 'student') -> dict[str, Any]:
    """One of the CIFAR networks.

    Args:
        name (str): A key of ``CIFAR_NETWORKS``.
        num_classes (int): Number of logits.
        field (str): Where the name stands, for the error message.

    Returns:
        dict: A new config in each call.

    Raises:
        ConfigError: No network has this name.
    """
    _check(name, CIFAR_NETWORKS, field)
    return cifar_classifier_config(name, num_classes)


def large_network(name: str, num_classes: int, field: str = 'student') -> Any:
    """One of ImageNet's networks; see :func:`cifar_network`."""
    _check(name, LARGE, field)
    backbone, channels = LARGE[name]
    return image_classifier_config(backbone, channels, num_classes)


def _check(name: str, valid: Any, field: str) -> None:
    check_choice(field, name, valid, 'network')
