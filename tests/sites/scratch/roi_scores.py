"""A site of one's own, in one file: class logits at the RoIs, divided by two."""

from btkd_det.registry import SITES
from btkd_det.sites.rois import RoISite


@SITES.register_module(name='roi_scores')
class RoIScores(RoISite):
    """Half of the logits."""

    family = 'LogitLoss'
    compares_classes = True

    def inputs(self, record, teacher_outputs):
        """Logits of both, and the labels."""
        return record.logits / 2, teacher_outputs.logits / 2, record.labels
