"""DETR's heads: what the student's queries give, and the teacher's for the same objects."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_overlaps, bbox_xyxy_to_cxcywh
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..errors import ConfigError
from ..hints import Model
from .base import Recorder, Site, Step


@dataclass
class QueryRecord:
    """What the queries gave after one decoder layer; N images, Q queries.

    Denoising queries are not among them: they stand for the object that they were made of, and
    the teacher has none.

    Attributes:
        head (Model): The student's.
        logits (Tensor): (N, Q, C), or (N, Q, C + 1) with background last for a softmax.
        boxes (Tensor): (N, Q, 4): center x and y, width and height, in shares of the image.
        objects (list[InstanceData]): The annotated ``bboxes`` and ``labels`` of each image.
        metas (list[dict]): What is known of each image, ``img_shape`` among it.
        matched (list[Tensor]): (Q,) of each image: 0 where the student's matcher left the query
            alone, otherwise the number of the object, from 1.
        stage (int | None): The decoder layer, from 0; ``None`` where there is one.
        stages (int): How many there are.
    """

    head: Model
    logits: Tensor
    boxes: Tensor
    objects: Sequence[InstanceData]
    metas: Sequence[dict[str, Any]]
    matched: list[Tensor] = field(default_factory=list)
    stage: int | None = None
    stages: int = 1


@dataclass
class QueryOutputs:
    """What the teacher's queries give after the decoder layer, and which of them belong to whom.

    Attributes:
        record (QueryRecord): The student's.
        teacher (Teacher): The teacher.
        logits (Tensor): (N, Q', C'), in its own classes.
        boxes (Tensor): (N, Q', 4), as the student's.
        matched (list[Tensor]): As the student's, by the teacher's own matcher.
    """

    record: QueryRecord
    teacher: Model
    logits: Tensor
    boxes: Tensor
    matched: list[Tensor]

    @functools.cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each image, for each object that both matched: the student's query, the teacher's,
        and the object, (M,) each.
        """
        found = []
        for ours, its, objects in zip(
            self.record.matched, self.matched, self.record.objects, strict=True
        ):
            queries = [_query_of(matched, len(objects)) for matched in (ours, its)]
            both = ((queries[0] >= 0) & (queries[1] >= 0)).nonzero().squeeze(1)
            found.append((queries[0][both], queries[1][both], both))
        return found

    @functools.cached_property
    def others(self) -> list[tuple[Tensor, Tensor]]:
        """Of each image, queries that neither matched: the student's and the teacher's nearest.

        One for one, so that the summed distance of their boxes, center and extent, is least.
        """
        found = []
        for i, matched in enumerate(zip(self.record.matched, self.matched, strict=True)):
            free = [(part == 0).nonzero().squeeze(1) for part in matched]
            boxes = [part[i].detach().float() for part in (self.record.boxes, self.boxes)]
            gaps = torch.cdist(boxes[0][free[0]], boxes[1][free[1]], p=1)
            rows = linear_sum_assignment(gaps.cpu().numpy())
            ours, its = (torch.as_tensor(part, device=gaps.device) for part in rows)
            found.append((free[0][ours], free[1][its]))
        return found

    @functools.cached_property
    def target_boxes(self) -> Tensor:
        """(M, 4): the annotated boxes of all pairs, as the student's."""
        rows = []
        for objects, meta, (_, _, which) in zip(
            self.record.objects, self.record.metas, self.pairs, strict=True
        ):
            rows.append(bbox_xyxy_to_cxcywh(objects.bboxes[which] / _extent(meta, objects.bboxes)))
        return torch.cat(rows)

    @functools.cached_property
    @torch.no_grad()
    def box_ious(self) -> Tensor:
        """(M,): the IoU of the teacher's box with the annotated one, of all pairs."""
        boxes = bbox_cxcywh_to_xyxy(gathered(self.boxes, [pair[1] for pair in self.pairs]).float())
        return bbox_overlaps(boxes, bbox_cxcywh_to_xyxy(self.target_boxes), is_aligned=True)

    @functools.cached_property
    def labels(self) -> Tensor:
        """(M,): the classes of all pairs, the student's."""
        return torch.cat(
            [o.labels[pair[2]] for o, pair in zip(self.record.objects, self.pairs, strict=True)]
        )


class QueryRecorder(Recorder):
    """Notes what meets where the student's head matches its queries, layer by layer."""

    def __enter__(self) -> 'QueryRecorder':
        head = self.student.bbox_head
        self._outputs: list[tuple] = []
        self._teacher: tuple[Tensor, Tensor] | None = None
        get_targets, assign = head.get_targets, head.assigner.assign

        def noted_targets(
            logits: Any, boxes: Any, objects: Any, metas: Any, *args: Any, **kwargs: Any
        ) -> Any:
            record = QueryRecord(head, torch.stack(logits), torch.stack(boxes), objects, metas)
            self.records.append(record)
            return get_targets(logits, boxes, objects, metas, *args, **kwargs)

        def noted_assign(*args: Any, **kwargs: Any) -> Any:
            result = assign(*args, **kwargs)
            if self.records:
                self.records[-1].matched.append(result.gt_inds)
            return result

        head.get_targets, head.assigner.assign = noted_targets, noted_assign
        self._hook = head.register_forward_hook(
            lambda module, args, result: self._outputs.append(result)
        )
        return self

    def __exit__(self, *error: object) -> None:
        head = self.student.bbox_head
        del head.get_targets, head.assigner.assign
        self._hook.remove()

    def finish(self, samples: Sequence) -> None:
        """Keep the decoder's layers; what a head matches after them are the encoder's proposals.

        Raises:
            ConfigError: The head does not match all queries of each layer, image by image.
        """
        layers = len(self._outputs[0][0]) if self._outputs else 0
        known = self.records[:layers]
        complete = all(
            [len(part) for part in record.matched] == [record.logits.shape[1]] * len(samples)
            for record in known
        )
        if not layers or len(known) < layers or not complete:
            raise ConfigError(
                f'bbox_head: {type(self.student.bbox_head).__name__} does not match the queries '
                'of each decoder layer by get_targets and its assigner, so nothing can stand at '
                'query_logits or query_boxes; valid: a head that does, such as DETRHead or '
                'DINOHead, or use the sites fpn and backbone'
            )
        for stage, record in enumerate(known):
            record.stage, record.stages = (stage if layers > 1 else None), layers
        self.records[:] = known

    def teacher_outputs(self, record: QueryRecord, step: Step) -> QueryOutputs:
        """The teacher's queries after the same layer, or its last if it has not as many.

        The transformer runs once for all layers.
        """
        model = step.teacher.model
        if self._teacher is None:
            hidden = model.forward_transformer(step.features, step.samples)
            self._teacher = model.bbox_head(**hidden)
        logits, boxes = self._teacher
        layer = (record.stage or 0) if len(logits) == record.stages else -1
        # Where its config has no assigner, both are matched by the same.
        assigner = getattr(model.bbox_head, 'assigner', None) or record.head.assigner
        matched = [
            _match(assigner, logits[layer][i], boxes[layer][i], objects, meta, step.teacher)
            for i, (objects, meta) in enumerate(zip(record.objects, record.metas, strict=True))
        ]
        return QueryOutputs(record, step.teacher, logits[layer], boxes[layer], matched)


class QuerySite(Site):
    """A site at DETR's queries, after the last decoder layer; ``layers='all'``: after each."""

    recorder = QueryRecorder
    options: tuple[str, ...] = (*Site.options, 'layers')
    compares_classes = True

    def set_options(self, where: str, *, layers: str = 'last', **common: Any) -> None:
        """See :meth:`Site.set_options`; ``layers`` is ``'last'`` or ``'all'``."""
        super().set_options(where, **common)
        if layers not in ('last', 'all'):
            raise ConfigError(f"{where}.layers: got {layers!r}; valid: 'last', 'all'")
        self.last_stage = layers == 'last'


def gathered(values: Tensor, queries: Sequence[Tensor]) -> Tensor:
    """What belongs to some of each image's queries.

    Args:
        values (Tensor): (N, Q, K).
        queries (Sequence[Tensor]): Indices of each image.

    Returns:
        Tensor: (M, K), image after image.
    """
    return torch.cat([part[chosen] for part, chosen in zip(values, queries, strict=True)])


def _query_of(matched: Tensor, count: int) -> Tensor:
    """(count,): the query of each object, -1 where it has none."""
    queries = matched.new_full((count,), -1)
    taken = (matched > 0).nonzero().squeeze(1)
    queries[matched[taken] - 1] = taken
    return queries


def _extent(meta: dict[str, Any], boxes: Tensor) -> Tensor:
    """(4,): width, height, width and height of an image without its padding."""
    height, width = meta['img_shape'][:2]
    return boxes.new_tensor([width, height, width, height])


def _match(
    assigner: Any,
    logits: Tensor,
    boxes: Tensor,
    objects: InstanceData,
    meta: dict[str, Any],
    teacher: Model,
) -> Tensor:
    """Which of the teacher's queries stands for which object of an image, see QueryRecord."""
    labels = objects.labels
    if teacher.class_map is not None:
        labels = labels.new_tensor(list(teacher.class_map))[labels]
    predicted = bbox_cxcywh_to_xyxy(boxes.float()) * _extent(meta, objects.bboxes)
    result = assigner.assign(
        pred_instances=InstanceData(scores=logits.float(), bboxes=predicted),
        gt_instances=InstanceData(bboxes=objects.bboxes, labels=labels),
        img_meta=meta,
    )
    return result.gt_inds
