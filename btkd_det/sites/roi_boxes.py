"""The site ``roi_boxes``: the box deltas of the foreground RoIs."""

from ..hints import Model
from ..registry import SITES
from .roi_checks import check_deltas, check_roi_heads, check_same_classes, heads_of
from .rois import RoIOutputs, RoIRecord, RoISite


@SITES.register_module(name='roi_boxes')
class RoIBoxes(RoISite):
    """Boxes at the RoIs that the student sampled."""

    family = 'BoxLoss'
    compares_classes = True

    def check(self, student: Model, teacher: Model) -> None:
        """Both box heads need box deltas."""
        check_roi_heads(self.name, student, teacher)
        check_same_classes(student, teacher)
        check_deltas(heads_of(student, teacher), 'distill.roi_boxes')

    def inputs(self, record: RoIRecord, teacher_outputs: RoIOutputs) -> tuple:
        """Deltas of both and of the ground truth, the teacher's IoU with it, the foreground."""
        return (
            record.own_deltas(record.deltas, record.head),
            record.encode(teacher_outputs.boxes),
            record.encode(record.true_boxes()),
            teacher_outputs.box_ious,
            record.foreground,
        )
