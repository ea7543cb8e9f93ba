"""Mask heads: what the student's give for the RoIs that show an object, and the teacher's there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from ..errors import ConfigError
from ..hints import Model
from .base import Recorder, Step
from .probe import probed
from .rois import full_precision


@dataclass
class MaskRecord:
    """What a mask head gave in one iteration; P RoIs of objects, C classes.

    Attributes:
        head (nn.Module): The student's mask head.
        rois (Tensor): (P, 5): index of the image, then x1, y1, x2, y2 in pixels of the padded
            input.
        logits (Tensor): (P, C, h, w), or (P, 1, h, w) of a head that knows no classes.
        targets (Tensor): (P, h, w): 1 where the object is, 0 elsewhere.
        labels (Tensor): (P,).
        stage (int | None): Of a cascade, from 0; ``None`` where there is one stage.
        stages (int): How many there are.
    """

    head: Model
    rois: Tensor
    logits: Tensor
    targets: Tensor
    labels: Tensor
    stage: int | None = None
    stages: int = 1


@dataclass
class MaskOutputs:
    """What the teacher's mask head gives on the same RoIs.

    Attributes:
        logits (Tensor): (P, h, w), of each RoI's assigned class.
    """

    logits: Tensor


class MaskRecorder(Recorder):
    """Notes what meets in the ``loss_and_target`` of the student's mask heads."""

    def __enter__(self) -> 'MaskRecorder':
        self._heads = mask_heads(self.student.roi_head)
        for head in self._heads:
            head.loss_and_target = self._noting(head, head.loss_and_target)
        return self

    def __exit__(self, *error: object) -> None:
        for head in self._heads:
            del head.loss_and_target

    def _noting(self, head: Model, original: Any) -> Any:
        def loss_and_target(
            mask_preds: Tensor, sampling_results: Sequence[Any], *args: Any, **kwargs: Any
        ) -> dict:
            result = original(mask_preds, sampling_results, *args, **kwargs)
            stages = len(self._heads)
            record = MaskRecord(
                head,
                bbox2roi([part.pos_priors for part in sampling_results]),
                mask_preds,
                result['mask_targets'],
                torch.cat([part.pos_gt_labels for part in sampling_results]),
                len(self.records) if stages > 1 else None,
                stages,
            )
            self.records.append(record)
            return result

        return loss_and_target

    def finish(self, samples: Sequence) -> None:
        """Raise a ConfigError where a mask head never called its ``loss_and_target``."""
        if len(self.records) != len(self._heads):
            raise ConfigError(
                f'roi_head.type: {type(self.student.roi_head).__name__} has {len(self._heads)} '
                f'mask head(s), and {len(self.records)} of them called loss_and_target, where '
                'RoIs, logits and masks meet; valid for roi_masks: a RoI head that calls it, such '
                'as StandardRoIHead with a FCNMaskHead'
            )

    def teacher_outputs(self, record: MaskRecord, step: Step) -> MaskOutputs:
        """The teacher's mask head on the student's RoIs; see RoIRecorder for cascades."""
        roi_head, labels = step.teacher.model.roi_head, record.labels
        if step.teacher.class_map is not None:
            labels = labels.new_tensor(list(step.teacher.class_map))[labels]
        stage, stages = record.stage or 0, record.stages
        logits, head = run_mask_head(roi_head, step.features, record.rois, stage, stages)
        return MaskOutputs(own_masks(logits, labels, head))


def mask_heads(roi_head: Model) -> list[nn.Module]:
    """The mask heads of a RoI head, one for each stage; none where it has no masks."""
    heads = getattr(roi_head, 'mask_head', None)
    if heads is None:
        return []
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def own_masks(logits: Tensor, labels: Tensor, head: Model) -> Tensor:
    """(P, C, h, w) to (P, h, w): the mask of each RoI's class."""
    if head.class_agnostic:
        return logits[:, 0]
    return logits[torch.arange(len(labels), device=labels.device), labels]


def run_mask_head(
    roi_head: Model,
    features: Sequence[Tensor],
    rois: Tensor,
    stage: int = 0,
    stages: int = 1,
) -> tuple[Tensor, nn.Module]:
    """What a RoI head's mask head gives on RoIs.

    Args:
        roi_head (nn.Module): The RoI head.
        features (Sequence[Tensor]): Of its neck.
        rois (Tensor): (P, 5).
        stage (int): Of the student's cascade, from 0.
        stages (int): How many the student has.

    Returns:
        tuple[Tensor, nn.Module]: (P, C, h, w) and the mask head. A cascade with another number of
        stages gives the mean of them.
    """
    features = full_precision(features)
    heads = mask_heads(roi_head)
    if not isinstance(roi_head.mask_head, nn.ModuleList):
        return roi_head._mask_forward(features, rois)['mask_preds'], heads[0]
    if len(heads) == stages:
        return roi_head._mask_forward(stage, features, rois)['mask_preds'], heads[stage]
    found = [roi_head._mask_forward(i, features, rois)['mask_preds'] for i in range(len(heads))]
    return torch.stack(found).mean(dim=0), heads[-1]


def check_mask_heads(site: str, student: Model, teacher: Model) -> None:
    """Raise unless both models have mask heads that can be read, of equal size.

    Args:
        site (str): Which site reads them.
        student (nn.Module): The student.
        teacher (Teacher): The teacher.

    Raises:
        ConfigError: One has no masks, makes them in a way of its own, or has others' size.
    """
    models = {'model': student, 'teacher.config': teacher.model}
    for field, model in models.items():
        roi_head = getattr(model, 'roi_head', None)
        owner = next(
            (cls for cls in type(roi_head).__mro__ if '_mask_forward' in vars(cls)), type(None)
        )
        if owner in (StandardRoIHead, CascadeRoIHead) and mask_heads(roi_head):
            continue
        has = 'makes its masks in a way of its own' if mask_heads(roi_head) else 'has no mask head'
        raise ConfigError(
            f'{field}: the site {site} compares masks of RoIs, and {type(model).__name__} {has}; '
            'valid: Mask R-CNN, Cascade Mask R-CNN or Mask Scoring R-CNN'
        )
    (ours, its), _ = probed(models, _mask_size)
    if ours != its:
        raise ConfigError(
            f"teacher.config: the teacher's masks of a RoI are of {its} and the student's of "
            f'{ours}; both have to be of one size (roi_head.mask_head, mask_roi_extractor)'
        )


def _mask_size(model: Model, images: Tensor) -> tuple[int, int]:
    rois = images.new_tensor([[0, 0, 0, 32, 32]])
    logits, _ = run_mask_head(model.roi_head, model.extract_feat(images), rois)
    return logits.shape[2], logits.shape[3]
