"""The site ``roi_masks``: the mask logits of the RoIs that show an object."""

from torch import Tensor, nn

from ..errors import ConfigError
from ..registry import MODELS, SITES
from .dense_logits import with_background
from .mask_heads import MaskOutputs, MaskRecord, MaskRecorder, check_mask_heads, own_masks
from .roi_checks import check_same_classes
from .rois import RoISite


@SITES.register_module(name='roi_masks')
class RoIMasks(RoISite):
    """Mask logits of the foreground RoIs, of their assigned class, pixel by pixel (ours).

    A row is a pixel of a RoI with two classes: the object, whose logit the head gives, and
    background beside it, minus that logit. The teacher is right where it is on the mask's side.
    """

    family = 'LogitLoss'
    recorder = MaskRecorder
    compares_classes = True

    def check(self, student: nn.Module, teacher: nn.Module) -> None:
        """Both need mask heads of one size and the same classes."""
        check_mask_heads(self.name, student, teacher)
        check_same_classes(student, teacher)
        for field, loss in self.named():
            if 'box_ious' in getattr(loss, 'extra_inputs', ()):
                raise ConfigError(
                    f"{field}.judge: 'class_and_box' of {type(loss).__name__} judges boxes, and "
                    "here are pixels of masks; valid: 'class'"
                )
            if isinstance(loss, MODELS.get('btkd_det.IKDLoss')) and loss.num_classes != 2:
                raise ConfigError(
                    f'{field}.num_classes: got {loss.num_classes}; valid: 2, the object and '
                    'background'
                )

    def inputs(
        self, record: MaskRecord, teacher_outputs: MaskOutputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(R, 2) logits of both, R = P h w, and the labels: 0 for the object."""
        ours = own_masks(record.logits, record.labels, record.head)
        its = teacher_outputs.logits
        labels = (record.targets.reshape(-1) < 0.5).long()
        rows = with_background(ours.reshape(-1, 1)), with_background(its.reshape(-1, 1))
        return *rows, labels

    def extras(
        self, record: MaskRecord, teacher_outputs: MaskOutputs, loss: nn.Module
    ) -> dict[str, Tensor]:
        """Which pixels show the object."""
        return dict(foreground=record.targets.reshape(-1) >= 0.5)
