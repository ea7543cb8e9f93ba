"""The site ``roi_features``: what the box heads are given for the sampled RoIs."""

import torch
from torch import Tensor

from ..bias import curriculum, is_right
from ..bias.curriculum import count_parts
from ..errors import ConfigError
from ..hints import Model
from ..losses.ranks import mean_over_ranks
from ..progress import training_progress
from ..registry import SITES
from .gate import shared_weights
from .roi_checks import check_logits, check_roi_heads, check_same_classes, heads_of
from .rois import RoIOutputs, RoIRecord, RoISite, run_roi_head


@SITES.register_module(name='roi_features')
class RoIFeatures(RoISite):
    """Features of the RoIs that the student sampled."""

    family = 'FeatureLoss'

    def check(self, student: Model, teacher: Model) -> None:
        """The teacher's box head has to judge where a gate asks it to."""
        check_roi_heads(self.name, student, teacher)
        loss: Model
        for loss in self:
            if 'focal' in loss.extra_inputs:
                raise ConfigError(
                    f'distill.roi_features.type: {type(loss).__name__} tells foreground from '
                    'background in maps of whole images, and a RoI is a part of one; valid for it: '
                    'fpn'
                )
        if any(loss.gate == 'teacher_right' for loss in self):
            check_same_classes(student, teacher)
            check_logits(heads_of(None, teacher), 'distill.roi_features.gate')

    def shapes(self, model: Model, images: Tensor) -> list[tuple[int, ...]]:
        """(C, H, W) of the features of a RoI."""
        rois = images.new_tensor([[0, 0, 0, 32, 32]])
        outputs, _ = run_roi_head(model.roi_head, model.extract_feat(images), rois)
        return [tuple(outputs['bbox_feats'].shape[1:])]

    def inputs(self, record: RoIRecord, teacher_outputs: RoIOutputs) -> tuple:
        """Features of both, each one map."""
        return (record.features,), (teacher_outputs.features,)

    def extras(
        self, record: RoIRecord, teacher_outputs: RoIOutputs, loss: Model
    ) -> dict[str, list[Tensor]]:
        """The gate of RoI features.

        ``'teacher_right'`` weighs the RoIs as the logits' curriculum does, by cosine and subset;
        ``'foreground'`` takes those that show an object, and the others apart.
        """
        if loss.gate is None:
            return {}
        if loss.gate == 'teacher_right':
            right = is_right(teacher_outputs.logits, record.labels)
            counts = mean_over_ranks(count_parts(right))
            weights = curriculum(right, training_progress(), counts=counts)
        else:
            masks = torch.stack([record.foreground, ~record.foreground]).float()
            (weights,) = shared_weights([masks], loss.background_weight)
        height, width = teacher_outputs.features.shape[2:]
        weights = (weights / (height * width))[:, None, None, None]
        return dict(gate=[weights.expand(-1, 1, height, width)])
