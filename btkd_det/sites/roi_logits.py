"""The site ``roi_logits``: the class logits of the sampled RoIs, with their assigned labels."""

from torch import Tensor

from ..hints import Model
from ..registry import SITES
from .roi_checks import check_deltas, check_logits, check_roi_heads, check_same_classes, heads_of
from .rois import RoIOutputs, RoIRecord, RoISite


@SITES.register_module(name='roi_logits')
class RoILogits(RoISite):
    """Class logits at the RoIs that the student sampled."""

    family = 'LogitLoss'
    compares_classes = True

    def check(self, student: Model, teacher: Model) -> None:
        """Both box heads need one logit for each class and one for background."""
        check_roi_heads(self.name, student, teacher)
        check_same_classes(student, teacher)
        check_logits(heads_of(student, teacher), 'distill.roi_logits')
        if any('box_ious' in getattr(loss, 'extra_inputs', ()) for loss in self):
            check_deltas(heads_of(student, teacher), "distill.roi_logits.judge: 'class_and_box'")

    def inputs(self, record: RoIRecord, teacher_outputs: RoIOutputs) -> tuple:
        """Logits of both, and the labels."""
        return record.logits, teacher_outputs.logits, record.labels

    def extras(
        self, record: RoIRecord, teacher_outputs: RoIOutputs, loss: Model
    ) -> dict[str, Tensor]:
        """Which RoIs show an object, and how well the teacher's boxes fit."""
        extras = dict(foreground=record.foreground)
        if 'box_ious' in loss.extra_inputs:
            extras['box_ious'] = teacher_outputs.box_ious
        return extras
