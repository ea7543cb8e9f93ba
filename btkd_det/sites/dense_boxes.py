"""The site ``dense_boxes``: the distributions over box sides of GFL's heads."""

from ..errors import ConfigError
from ..hints import Model
from ..registry import SITES
from .base import Site
from .dense import DenseOutputs, DenseRecord, DenseRecorder, check_rows, rows
from .dense_checks import check_equal, check_levels, heads_of


@SITES.register_module(name='dense_boxes')
class DenseBoxes(Site):
    """Distributions over the four sides of the box of each anchor."""

    family = 'DistributionLoss'
    recorder = DenseRecorder

    def check(self, student: Model, teacher: Model) -> None:
        """Both heads need distributions with equally many bins."""
        head, its = heads_of(student, teacher)
        check_equal(head, its, ('num_base_priors',))
        bins = getattr(head, 'reg_max', None), getattr(its, 'reg_max', None)
        if bins[0] is None or bins[0] != bins[1] or not hasattr(head, 'integral'):
            raise ConfigError(
                "distill.dense_boxes: needs distributions over box sides, GFL's, with equal "
                f'bbox_head.reg_max; got {bins[0]} in the student, {bins[1]} in the teacher'
            )
        check_levels(student, teacher.model)

    def inputs(self, record: DenseRecord, teacher_outputs: DenseOutputs) -> tuple:
        """Logits of the bins of both, and the foreground."""
        width = 4 * (record.head.reg_max + 1)
        sides = [rows(part.outputs[1], width) for part in (record, teacher_outputs)]
        check_rows(*sides)
        return *sides, record.foreground
