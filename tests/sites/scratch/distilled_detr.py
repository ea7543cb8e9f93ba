"""A detector family of one's own, in one file: DETR, at the class logits of its queries."""

from dataclasses import dataclass

from mmdet.models.detectors import DETR
from torch import Tensor

from btkd_det.models.distilled import Distilled
from btkd_det.registry import MODELS, SITES
from btkd_det.sites import Recorder, Site
from btkd_det.sites.maps import MapRecorder


@dataclass
class QueryRecord:
    """Class logits of all queries, (N * Q, C + 1)."""

    logits: Tensor


class QueryRecorder(Recorder):
    """Notes what the head gives after the last decoder layer."""

    def __enter__(self):
        note = lambda module, args, result: self.records.append(QueryRecord(flat(result)))
        self._hook = self.student.bbox_head.register_forward_hook(note)
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self._hook.remove()

    def teacher_outputs(self, record, step):
        """The teacher's queries of the same number."""
        model = step.teacher.model
        hidden = model.forward_transformer(step.features, step.samples)['hidden_states']
        return QueryRecord(flat(model.bbox_head(hidden)))


@SITES.register_module(name='query_scores')
class QueryScores(Site):
    """Class logits of the queries, each held against the teacher's of its number."""

    family = 'LogitLoss'
    recorder = QueryRecorder
    compares_classes = True

    def inputs(self, record, teacher_outputs):
        """Logits of both."""
        return record.logits, teacher_outputs.logits


@MODELS.register_module()
class DistilledDETR(Distilled, DETR):
    """A DETR with a teacher: at its queries, and at its maps."""

    recorders = (QueryRecorder, MapRecorder)


def flat(outputs):
    """The class logits of the last layer as rows."""
    return outputs[0][-1].flatten(0, 1)
