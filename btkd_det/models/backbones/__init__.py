"""The CIFAR networks of the distillation literature, as backbones and as whole classifiers."""

from .cifar_backbone import CIFARBackbone
from .cifar_bottleneck_resnet import CIFARBottleneckResNet
from .cifar_classifier import (
    CIFAR_NETWORKS,
    CIFARClassifier,
    build_cifar_classifier,
    cifar_classifier_config,
    image_classifier_config,
)
from .cifar_mobilenet_v2 import CIFARMobileNetV2
from .cifar_resnet import CIFARResNet
from .cifar_shufflenet_v1 import CIFARShuffleNetV1
from .cifar_shufflenet_v2 import CIFARShuffleNetV2
from .cifar_vgg import CIFARVGG
from .cifar_wide_resnet import CIFARWideResNet

__all__ = [
    'CIFAR_NETWORKS',
    'CIFARBackbone',
    'CIFARBottleneckResNet',
    'CIFARClassifier',
    'CIFARMobileNetV2',
    'CIFARResNet',
    'CIFARShuffleNetV1',
    'CIFARShuffleNetV2',
    'CIFARVGG',
    'CIFARWideResNet',
    'build_cifar_classifier',
    'cifar_classifier_config',
    'image_classifier_config',
]
