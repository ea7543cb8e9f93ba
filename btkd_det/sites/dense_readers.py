"""Dense heads whose logits and labels do not meet in the call of their classification loss.

Each of them assigns one class to a position in a call of its own, and a :class:`Reader` says which
call that is and what it tells. The logits are those that the head gave.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models import dense_heads
from torch import Tensor, nn
from torch.nn import functional as F

from ..hints import Model

#: The head, what the call was given, what it gave; labels and whether they count, (R,) each.
Read = Callable[[nn.Module, Sequence[Any], Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Reader:
    """Where a head assigns classes, and how to read them.

    Attributes:
        call (str): The head's method, or its loss, that is called with the assignment.
        read (Callable): See :data:`Read`.
        by_image (bool): Whether a call is of all levels of one image; otherwise of one level of
            all images, or of everything.
        alone (bool): Whether the ``loss_cls`` is called otherwise, so that its weights say nothing
            of which rows count.
    """

    call: str
    read: Read
    by_image: bool = False
    alone: bool = False


def _ssd(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """Objects, and the background that hard negative mining keeps."""
    logits, labels, weights = args[0].detach(), args[3], args[4]
    costs = F.cross_entropy(logits, labels, reduction='none') * weights
    objects = (labels >= 0) & (labels < head.num_classes) & (weights > 0)
    background = (labels == head.num_classes) & (weights > 0)
    count = min(int(head.train_cfg['neg_pos_ratio'] * objects.sum()), int(background.sum()))
    hardest = costs.masked_fill(~background, -1).topk(count).indices
    counted = objects.clone()
    counted[hardest] = True
    return labels, counted


def _yolact(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """As SSD's; of an image without objects all background, for YOLACT then mines none."""
    labels, counted = _ssd(head, args, result)
    no_object = ~((labels >= 0) & (labels < head.num_classes)).any()
    return labels, counted | no_object & (labels == head.num_classes) & (args[4] > 0)


def _targets(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """What was assigned, before positives are weighed against each other."""
    labels, weights = (torch.cat([part.flatten() for part in parts]) for parts in result[:2])
    return labels, weights > 0


def _yolox(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """Objects alone: what is background is said by another output, the objectness."""
    foreground, targets = result[:2]
    labels = torch.full_like(foreground, head.num_classes, dtype=torch.long)
    labels[foreground] = targets.argmax(dim=1)
    return labels, foreground


def _paa(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """The labels of the second assignment."""
    labels, weights = result[:2]
    return labels, weights > 0


def _fsaf(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """Objects at the level that was selected for them."""
    labels, kept = args[3], result[2]
    return labels, kept | (labels == head.num_classes)


def _centernet(head: Model, args: Sequence[Any], result: Any) -> tuple[Tensor, Tensor]:
    """Centers are objects; around them the target is between 0 and 1, and neither."""
    targets = args[1].permute(0, 2, 3, 1).flatten(0, 2)
    largest, labels = targets.max(dim=1)
    is_center = largest == 1
    labels = torch.where(is_center, labels, head.num_classes)
    return labels, is_center | (largest == 0)


#: By the class whose ``loss_by_feat`` a head has.
READERS = {
    dense_heads.SSDHead: Reader('loss_by_feat_single', _ssd, by_image=True),
    dense_heads.PISASSDHead: Reader('loss_by_feat_single', _ssd, by_image=True),
    dense_heads.YOLACTHead: Reader('OHEMloss_by_feat_single', _yolact, by_image=True),
    dense_heads.PISARetinaHead: Reader('get_targets', _targets, alone=True),
    dense_heads.YOLOXHead: Reader('_get_targets_single', _yolox, by_image=True),
    dense_heads.PAAHead: Reader('paa_reassign', _paa, by_image=True),
    dense_heads.FSAFHead: Reader('reweight_loss_single', _fsaf),
    dense_heads.CenterNetHead: Reader('loss_center_heatmap', _centernet),
}


def reader_of(head: Model) -> Reader | None:
    """How a head's labels are read; ``None`` where they meet the logits in its ``loss_cls``."""
    owner = next((cls for cls in type(head).__mro__ if 'loss_by_feat' in vars(cls)), None)
    return READERS.get(owner)


def width_of(head: Model) -> int:
    """How many numbers a head gives for the class of a position."""
    return getattr(head, 'cls_out_channels', head.num_classes)


def has_sigmoids(head: Model) -> bool:
    """Whether a head asks each class separately; CenterNet's heatmaps do."""
    return getattr(head, 'use_sigmoid_cls', isinstance(head, dense_heads.CenterNetHead))


def gives_probabilities(head: Model) -> bool:
    """Whether what a head gives are probabilities in place of logits."""
    return isinstance(head, (dense_heads.TOODHead, dense_heads.CenterNetHead))


def head_logits(head: Model, maps: Sequence[Tensor]) -> Tensor:
    """The class logits of all positions.

    Args:
        head (nn.Module): Whose they are.
        maps (Sequence[Tensor]): (N, A * C, H, W) of each level, its first output.

    Returns:
        Tensor: (R, C), in the order of :func:`btkd_det.sites.dense.rows`.
    """
    width = width_of(head)
    found = torch.cat([part.permute(0, 2, 3, 1).reshape(-1, width) for part in maps])
    if not gives_probabilities(head):
        return found
    # The largest below 1 that its precision has: in half there is none between it and 1.
    most = 1 - max(torch.finfo(found.dtype).eps / 2, 1e-6)
    return found.float().clamp(1e-7, most).logit()


def by_level(images: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """What was read image by image, in the order of the levels.

    Args:
        images (Sequence[Tensor]): (P,) of each image, its levels one after another.
        sizes (Sequence[int]): How many positions of an image each level has, P in all.

    Returns:
        Tensor: (R,): all images of the first level, then those of the next.
    """
    levels = zip(*(part.split(list(sizes)) for part in images), strict=True)
    return torch.cat([part for level in levels for part in level])
