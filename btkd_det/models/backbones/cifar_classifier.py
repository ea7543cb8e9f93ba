"""The CIFAR networks of the distillation literature by their names."""

from typing import Any, NamedTuple

from mmengine.model import BaseModule, initialize
from torch import Tensor, nn
from torch.nn import functional as F

from ...checks import check_choice, check_count
from ...registry import build
from .cifar_backbone import UNIFORM, CIFARBackbone

UNIFORM_LINEAR = dict(UNIFORM, layer='Linear')
NORMAL_LINEAR = dict(type='Normal', layer='Linear', std=0.01)


class CIFARNetwork(NamedTuple):
    """What a name stands for.

    Attributes:
        backbone (dict): Config of the registered backbone.
        in_channels (int): Channels that the linear layer sees.
        linear (dict): The linear layer's initialization.
    """

    backbone: dict
    in_channels: int
    linear: dict = UNIFORM_LINEAR


def _resnet(depth: int, **widths: Any) -> CIFARNetwork:
    channels = 4 * widths.get('base_channels', 16)
    return CIFARNetwork(dict(type='btkd_det.CIFARResNet', depth=depth, **widths), channels)


def _wide_resnet(depth: int, widen_factor: Any) -> CIFARNetwork:
    backbone = dict(type='btkd_det.CIFARWideResNet', depth=depth, widen_factor=widen_factor)
    return CIFARNetwork(backbone, 64 * widen_factor)


def _vgg(depth: int) -> CIFARNetwork:
    return CIFARNetwork(dict(type='btkd_det.CIFARVGG', depth=depth), 512, NORMAL_LINEAR)


CIFAR_NETWORKS = {
    **{f'resnet{depth}': _resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    'resnet8x4': _resnet(8, stem_channels=32, base_channels=64),
    'resnet32x4': _resnet(32, stem_channels=32, base_channels=64),
    'wrn_16_1': _wide_resnet(16, 1),
    'wrn_16_2': _wide_resnet(16, 2),
    'wrn_40_1': _wide_resnet(40, 1),
    'wrn_40_2': _wide_resnet(40, 2),
    **{f'vgg{depth}': _vgg(depth) for depth in (8, 11, 13, 16, 19)},
    'mobilenetv2': CIFARNetwork(
        dict(type='btkd_det.CIFARMobileNetV2', widen_factor=0.5, expand_ratio=6),
        1280,
        NORMAL_LINEAR,
    ),
    'shufflenetv1': CIFARNetwork(dict(type='btkd_det.CIFARShuffleNetV1', groups=3), 960),
    'shufflenetv2': CIFARNetwork(dict(type='btkd_det.CIFARShuffleNetV2', widen_factor=1.0), 1024),
    'resnet50': CIFARNetwork(dict(type='btkd_det.CIFARBottleneckResNet', depth=50), 2048),
}


class LinearHead(BaseModule):
    """Average pooling and a linear layer, under the key that mmpretrain's head has.

    Args:
        in_channels (int): C of the maps.
        num_classes (int): C of the logits.
        init_cfg (dict): MMEngine's initialization config.
    """

    def __init__(self, in_channels: int, num_classes: int, init_cfg: dict[str, Any]) -> None:
        super().__init__(init_cfg=init_cfg)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, num_classes)."""
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class CIFARClassifier(BaseModule):
    """A CIFAR backbone and a linear layer, for use without mmpretrain.

    ``state_dict`` has the keys of the ``ImageClassifier`` that :func:`cifar_classifier_config`
    describes, so that a checkpoint of one loads into the other.

    Args:
        backbone (CIFARBackbone): Its last output is pooled.
        head (LinearHead): Maps to logits.
    """

    def __init__(self, backbone: CIFARBackbone, head: LinearHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits.

        Args:
            images (Tensor): (N, 3, H, W), normalized.

        Returns:
            Tensor: (N, num_classes).
        """
        return self.head(self.backbone(images)[-1])

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The block outputs, from the finest to the coarsest; see :meth:`CIFARBackbone.features`.

        The stem's output, the closing layers' (of Wide ResNet, MobileNetV2 and ShuffleNetV2) and
        the pooled vector are no block outputs and not among them. Those of Wide ResNet and
        MobileNetV2 are not activated, as these networks hand them on.

        Args:
            images (Tensor): (N, 3, H, W), normalized.

        Returns:
            tuple[Tensor]: (N, C, H, W) each; three of the residual and shuffle networks, four of
            MobileNetV2 and resnet50, five of VGG.
        """
        return self.backbone.features(images)


def build_cifar_classifier(name: str, num_classes: int) -> CIFARClassifier:
    """A CIFAR network of the distillation literature, initialized.

    Args:
        name (str): A key of ``CIFAR_NETWORKS``: ``'resnet20'``, ``'wrn_16_2'``, ``'vgg8'``, ...
        num_classes (int): Number of logits.

    Returns:
        CIFARClassifier: (N, 3, H, W) -> (N, num_classes), for 32x32 images, or larger ones.

    Raises:
        ConfigError: No network has this name, or ``num_classes`` is no positive integer.
    """
    network = _network(name, num_classes)
    classifier = CIFARClassifier(
        build(network.backbone, 'backbone', CIFARBackbone),
        LinearHead(network.in_channels, num_classes, network.linear),
    )
    # Not by init_weights(), which writes a line per parameter to the console.
    for part in (classifier.backbone, classifier.head):
        initialize(part, part.init_cfg)
    return classifier


def cifar_classifier_config(name: str, num_classes: int) -> dict[str, Any]:
    """The same network as a config of mmpretrain's ``ImageClassifier``.

    Args:
        name (str): A key of ``CIFAR_NETWORKS``.
        num_classes (int): Number of logits.

    Returns:
        dict: A new one in each call, so that it can be changed.

    Raises:
        ConfigError: No network has this name, or ``num_classes`` is no positive integer.
    """
    network = _network(name, num_classes)
    return image_classifier_config(
        network.backbone, network.in_channels, num_classes, init_cfg=dict(network.linear)
    )


def image_classifier_config(
    backbone: dict[str, Any], in_channels: int, num_classes: int, **head: Any
) -> dict[str, Any]:
    """A backbone, average pooling and a linear layer as mmpretrain's ``ImageClassifier``.

    Args:
        backbone (dict): Config of the backbone.
        in_channels (int): Channels of its last map.
        num_classes (int): Number of logits.
        **head: Further keys of the head.

    Returns:
        dict: A new one in each call, so that it can be changed.
    """
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(backbone),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=num_classes,
            in_channels=in_channels,
            loss=dict(type='mmpretrain.CrossEntropyLoss', loss_weight=1.0),
            **head,
        ),
    )


def _network(name: str, num_classes: int) -> Any:
    check_choice('name', name, CIFAR_NETWORKS, 'CIFAR network')
    check_count(num_classes=num_classes)
    return CIFAR_NETWORKS[name]
