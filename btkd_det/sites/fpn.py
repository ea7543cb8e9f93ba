"""The site ``fpn``: the maps that a detector's ``extract_feat`` gives."""

from torch import Tensor

from ..hints import Model
from ..registry import SITES
from .maps import MapRecorder, MapSite


@SITES.register_module(name='fpn')
class FPN(MapSite):
    """Maps of the neck, or of the backbone where there is no neck."""

    recorder = MapRecorder

    def check_judge(self, student: Model, teacher: Model) -> None:
        """In a two-stage detector the teacher's box head judges."""
        from .roi_checks import check_logits, check_roi_heads, check_same_classes, heads_of
        from .rois import RoIRecorder

        if not any(issubclass(recorder, RoIRecorder) for recorder in student.recorders):
            super().check_judge(student, teacher)
        check_roi_heads(self.name, student, teacher, judging=True)
        check_same_classes(student, teacher)
        check_logits(heads_of(None, teacher), 'distill.fpn.gate')

    def shapes(self, model: Model, images: Tensor) -> list[tuple[int, ...]]:
        """(C, H, W) of each map."""
        return [tuple(part.shape[1:]) for part in model.extract_feat(images)]
