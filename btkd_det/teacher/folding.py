"""A teacher's batch normalization folded into its convolutions: the same maps in fewer steps."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError

#: What ``extract_feat`` runs; heads stay as they are: some share a convolution between levels.
PARTS = ('backbone', 'neck')
#: Of the norm of a map. What is folded wrongly differs by more than a tenth; TensorFloat-32, in
#: which GPUs convolve by default, by a thousandth.
TOLERANCE = 1e-2
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class FoldedFeatures:
    """``extract_feat`` of a frozen model whose normalization is folded at the first call.

    Then the weights are there, those that a student inherits are read, and a real batch shows
    whether the maps stay the same. On a GPU the folded parts also keep their weights, and are
    given their images, with the channels last.

    Args:
        model (nn.Module): In eval mode; changed in place.
        extract_feat (Callable): Its own, or what ``torch.compile`` made of it.

    Raises:
        ConfigError: There is nothing to fold.
    """

    def __init__(self, model: Any, extract_feat: Callable) -> None:
        self._model, self.extract_feat = model, extract_feat
        found = [getattr(model, name, None) for name in PARTS]
        self._parts = [part for part in found if isinstance(part, nn.Module)]
        modules = [module for part in self._parts for module in part.modules()]
        if not any(isinstance(module, _NORMS) for module in modules):
            raise ConfigError(
                'teacher.fuse: True, but neither its backbone nor its neck has batch '
                'normalization; valid: False'
            )
        self._folded = False

    def __call__(self, images: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not self._folded:
            self._fold(images, args, kwargs)
        if images.is_cuda:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.extract_feat(images, *args, **kwargs)

    def _fold(self, images: Tensor, args: Any, kwargs: Any) -> None:
        """Fold, and hold the maps against those of before.

        Raises:
            ConfigError: They are others: a convolution and the normalization that stands behind it
                in the module do not follow each other in the forward.
        """
        from mmcv.cnn import fuse_conv_bn

        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            before = self._model.extract_feat(images, *args, **kwargs)
            for part in self._parts:
                fuse_conv_bn(part)
                if images.is_cuda:
                    part.to(memory_format=torch.channels_last)
            after = self._model.extract_feat(images, *args, **kwargs)
        for a, b in zip(_tensors(before), _tensors(after), strict=True):
            if (a - b).norm() > TOLERANCE * a.norm():
                raise ConfigError(
                    'teacher.fuse: True, but the maps are others with it: in this backbone or neck '
                    'the normalization does not follow the convolution that it stands behind; '
                    'valid: False'
                )
        self._folded = True


def _tensors(maps: Tensor | Sequence) -> list[Tensor]:
    if isinstance(maps, Tensor):
        return [maps]
    return [tensor for part in maps for tensor in _tensors(part)]
