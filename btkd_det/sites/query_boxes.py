"""The site ``query_boxes``: the boxes of DETR's queries, object by object."""

import torch
from torch import Tensor, nn

from ..registry import SITES
from .queries import QueryOutputs, QueryRecord, QuerySite, gathered
from .query_checks import check_queries


@SITES.register_module(name='query_boxes')
class QueryBoxes(QuerySite):
    """Boxes of the student's query for an object and the teacher's for the same object.

    Center, width and height in shares of the image, as the heads learn them: where a box loss
    speaks of deltas, here they are these.
    """

    family = 'BoxLoss'

    def check(self, student: nn.Module, teacher: nn.Module) -> None:
        """Both heads need to be of DETR's family."""
        check_queries(self.name, student, teacher)

    def inputs(
        self, record: QueryRecord, teacher_outputs: QueryOutputs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Boxes of both and of the ground truth, the teacher's IoU with it, the foreground."""
        pairs = teacher_outputs.pairs
        ious = teacher_outputs.box_ious
        return (
            gathered(record.boxes, [pair[0] for pair in pairs]),
            gathered(teacher_outputs.boxes, [pair[1] for pair in pairs]),
            teacher_outputs.target_boxes,
            ious,
            torch.ones_like(ious, dtype=torch.bool),
        )
