"""The site ``query_logits``: the class logits of DETR's queries, object by object."""

from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..hints import Model
from ..registry import SITES
from .dense_logits import with_background
from .queries import QueryOutputs, QueryRecord, QuerySite, gathered
from .query_checks import check_queries, check_query_loss

UNMATCHED = ('none', 'background')


@SITES.register_module(name='query_logits')
class QueryLogits(QuerySite):
    """Class logits of the student's query for an object and the teacher's for the same object.

    Each model's own matcher says which query that is (ours; DETRDistill and KD-DETR pair queries
    by their predictions or by common query points). With ``unmatched='background'`` (ours) the
    queries that neither matched to an object take part, too, as background: one for one with the
    teacher's whose box is nearest.

    A head with sigmoids gets a column for background, as at ``dense_logits``.
    """

    family = 'LogitLoss'
    options = (*QuerySite.options, 'unmatched')

    def set_options(self, where: str, *, unmatched: str = 'none', **common: Any) -> None:
        """See :meth:`QuerySite.set_options`; ``unmatched`` is ``'none'`` or ``'background'``."""
        super().set_options(where, **common)
        if unmatched not in UNMATCHED:
            raise ConfigError(
                f'{where}.unmatched: got {unmatched!r}; valid: {", ".join(map(repr, UNMATCHED))}'
            )
        self.unmatched = unmatched

    def check(self, student: Model, teacher: Model) -> None:
        """Both heads need the same classes, and logits of the same kind."""
        check_queries(self.name, student, teacher)
        for field, loss in self.named():
            check_query_loss(loss, field, student.bbox_head)

    def inputs(
        self, record: QueryRecord, teacher_outputs: QueryOutputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of both, and the labels; of the matched queries first."""
        pairs = teacher_outputs.pairs
        ours = gathered(record.logits, [pair[0] for pair in pairs])
        its = gathered(teacher_outputs.logits, [pair[1] for pair in pairs])
        labels = teacher_outputs.labels
        if self.unmatched == 'background':
            others = teacher_outputs.others
            ours = torch.cat([ours, gathered(record.logits, [pair[0] for pair in others])])
            its = torch.cat([its, gathered(teacher_outputs.logits, [pair[1] for pair in others])])
            background = labels.new_full((len(ours) - len(labels),), record.head.num_classes)
            labels = torch.cat([labels, background])
        its = teacher_outputs.teacher.in_students_classes(its)
        if record.head.loss_cls.use_sigmoid:
            ours, its = with_background(ours), with_background(its)
        return ours, its, labels

    def extras(
        self, record: QueryRecord, teacher_outputs: QueryOutputs, loss: Model
    ) -> dict[str, Tensor]:
        """Which rows show an object, and how well the teacher's boxes fit; 0 on the others."""
        labels, others = teacher_outputs.labels, 0
        if self.unmatched == 'background':
            others = sum(len(pair[0]) for pair in teacher_outputs.others)
        rows = torch.arange(len(labels) + others, device=labels.device)
        extras = dict(foreground=rows < len(labels))
        if 'box_ious' in loss.extra_inputs:
            ious = teacher_outputs.box_ious
            extras['box_ious'] = torch.cat([ious, ious.new_zeros(others)])
        return extras
