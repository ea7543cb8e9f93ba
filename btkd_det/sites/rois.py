"""RoI heads: what the student's box heads see and give, and the teacher's on the same RoIs."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..checks import check_choice
from ..errors import ConfigError
from ..hints import Model
from ..losses.divergences import HALF
from .base import Recorder, Site, Step


@dataclass
class RoIRecord:
    """What a box head saw and gave in one iteration; R RoIs, C classes.

    Attributes:
        head (nn.Module): The student's box head.
        rois (Tensor): (R, 5): index of the image, then x1, y1, x2, y2 in pixels of the padded
            input.
        features (Tensor): (R, F, h, w), what the head was given.
        logits (Tensor): (R, C + 1), background last.
        deltas (Tensor | None): (R, 4) or (R, 4 C), ``None`` for a head without boxes.
        labels (Tensor): (R,), ``C`` for background.
        foreground (Tensor): (R,) bool: the RoIs that were assigned an object.
        box_targets (Tensor): (R, 4), the ground truth as the head's deltas, or as boxes where
            the head's loss takes decoded boxes; 0 for background.
        stage (int | None): Of a cascade, from 0; ``None`` where there is one stage.
        stages (int): How many there are.
    """

    head: Model
    rois: Tensor
    features: Tensor
    logits: Tensor
    deltas: Tensor | None
    labels: Tensor
    foreground: Tensor
    box_targets: Tensor
    stage: int | None = None
    stages: int = 1

    def own_deltas(self, deltas: Any, head: Model) -> Tensor:
        """The deltas of each RoI's assigned class.

        Args:
            deltas (Tensor): (R, 4) or (R, 4 C), of ``head``.
            head (nn.Module): Whose deltas they are.

        Returns:
            Tensor: (R, 4). Background rows hold those of the last class.
        """
        if head.reg_class_agnostic:
            return deltas
        deltas = deltas.view(len(deltas), -1, 4)
        # Not the head's own number of classes: a class_map leaves the student's.
        index = self.labels.clamp(max=deltas.shape[1] - 1)
        return deltas.gather(1, index[:, None, None].expand(-1, 1, 4)).squeeze(1)

    def true_boxes(self) -> Tensor:
        """(R, 4): the ground truth's box of each foreground RoI."""
        if self.head.reg_decoded_bbox:
            return self.box_targets
        return self.head.bbox_coder.decode(self.rois[:, 1:], self.box_targets)

    def encode(self, boxes: Tensor) -> Tensor:
        """(R, 4): boxes as deltas of the RoIs."""
        return self.head.bbox_coder.encode(self.rois[:, 1:], boxes)


@dataclass
class RoIOutputs:
    """What the teacher's RoI head gives on a student's RoIs, in the student's classes.

    Attributes:
        record (RoIRecord): The student's.
        head (nn.Module): The teacher's box head.
        features (Tensor): (R, F', h, w), what it was given.
        logits (Tensor): (R, C + 1).
        deltas (Tensor | None): (R, 4) or (R, 4 C).
    """

    record: RoIRecord
    head: Model
    features: Tensor
    logits: Tensor
    deltas: Any

    @functools.cached_property
    @torch.no_grad()
    def boxes(self) -> Tensor:
        """(R, 4): the teacher's box of each RoI's assigned class."""
        deltas = self.record.own_deltas(self.deltas.float(), self.head)
        return self.head.bbox_coder.decode(self.record.rois[:, 1:], deltas)

    @functools.cached_property
    @torch.no_grad()
    def box_ious(self) -> Tensor:
        """(R,): the IoU of the teacher's box with the ground truth's."""
        return bbox_overlaps(self.boxes, self.record.true_boxes(), is_aligned=True)


class RoIRecorder(Recorder):
    """Notes where RoIs, logits and assigned targets of the student's box heads meet.

    In almost every RoI head of MMDetection that is their ``loss_and_target``; PISA's calls their
    ``loss`` by itself. :meth:`finish` tells of a head that does neither.
    """

    def __enter__(self) -> 'RoIRecorder':
        self._heads = box_heads(self.student.roi_head)
        self._hooks: list[RemovableHandle] = []
        self._given: dict[nn.Module, Tensor] = {}
        self._within = False
        for head in self._heads:
            head.loss_and_target = self._noting(head, head.loss_and_target)
            head.loss = self._noting(head, head.loss)
            hook = head.register_forward_pre_hook(
                lambda head, args: self._given.update({head: args[0]})
            )
            self._hooks.append(hook)
        return self

    def __exit__(self, *error: object) -> None:
        for head, hook in zip(self._heads, self._hooks, strict=True):
            hook.remove()
            del head.loss_and_target, head.loss

    def _noting(self, head: Model, original: Callable[..., dict]) -> Callable[..., dict]:
        def noting(cls_score: Tensor, bbox_pred: Any, rois: Any, *args: Any, **kwargs: Any) -> dict:
            outermost, self._within = not self._within, True
            try:
                result = original(cls_score, bbox_pred, rois, *args, **kwargs)
            finally:
                self._within = not outermost
            # PISA's sampler calls the loss, too, with labels alone and by name.
            known = isinstance(result, dict) and 'bbox_targets' in result
            targets = result['bbox_targets'] if known else args[:4]
            if outermost and len(targets) == 4:
                self._note(head, cls_score, bbox_pred, rois, targets)
            return result

        return noting

    def _note(self, head: Model, logits: Any, deltas: Any, rois: Any, targets: Any) -> None:
        labels, _, box_targets, _ = targets
        stages = len(self._heads)
        stage = len(self.records) if stages > 1 else None
        foreground = labels < head.num_classes
        given = rois, self._given[head], logits, deltas, labels, foreground, box_targets
        self.records.append(RoIRecord(head, *given, stage, stages))

    def finish(self, samples: Sequence[Any]) -> None:
        """Raise a ConfigError where the losses of a box head never met its RoIs."""
        stages = len(box_heads(self.student.roi_head))
        if len(self.records) != stages:
            raise ConfigError(
                f'roi_head.type: {type(self.student.roi_head).__name__} has {stages} box '
                f'head(s), and {len(self.records)} of them called loss_and_target or loss, where '
                'RoIs, logits and labels meet; valid for what is taken at the RoIs: a RoI head '
                'that calls one, such as StandardRoIHead or CascadeRoIHead; distillation at fpn '
                'works with any'
            )

    def teacher_outputs(self, record: RoIRecord, step: Step) -> RoIOutputs:
        """The teacher's RoI head on the student's RoIs.

        A cascade of as many stages as the student's answers stage by stage; another cascade
        answers with the mean over its stages, as it does when it predicts.
        """
        stage, rois = record.stage or 0, record.rois
        if getattr(self.student.roi_head, 'num_branch', 1) > 1:
            # TridentNet trains on each image several times, all images of a branch together.
            rois = torch.cat([rois[:, :1] % len(step.features[0]), rois[:, 1:]], dim=1)
        found, head = run_roi_head(
            step.teacher.model.roi_head, step.features, rois, stage, record.stages
        )
        logits, deltas = found['cls_score'], found['bbox_pred']
        class_map = step.teacher.class_map
        if class_map is not None:
            logits = class_map.scores(logits, step.teacher.num_classes)
            if head.with_reg and not head.reg_class_agnostic:
                deltas = class_map.deltas(deltas)
        return RoIOutputs(record, head, found['bbox_feats'], logits, deltas)


class RoISite(Site):
    """A site at the RoIs; in a cascade at every stage, or with ``stages='last'`` at its last."""

    recorder: type[Recorder] = RoIRecorder
    options = (*Site.options, 'stages')

    def set_options(self, where: str, *, stages: str = 'all', **common: Any) -> None:
        """See :meth:`Site.set_options`; ``stages`` is ``'all'`` or ``'last'``."""
        super().set_options(where, **common)
        check_choice(f'{where}.stages', stages, ('all', 'last'))
        self.last_stage = stages == 'last'


@contextlib.contextmanager
def record_rois(roi_head: Model) -> Iterator['RoIRecorder']:
    """Within this context, note what the box heads of a RoI head see and give.

    Args:
        roi_head (nn.Module): The student's.

    Yields:
        RoIRecorder: Its ``records`` has one entry for each stage that ran, in their order.
    """
    with RoIRecorder(SimpleNamespace(roi_head=roi_head)) as recorder:
        yield recorder


def box_heads(roi_head: Model) -> list[Model]:
    """The box heads of a RoI head, one for each stage.

    Args:
        roi_head (nn.Module): Of any two-stage detector, or whatever else has a ``bbox_head``.

    Returns:
        list[nn.Module]: One, or as many as the cascade has stages.
    """
    heads = roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def run_roi_head(
    roi_head: Model, features: Sequence[Tensor], rois: Tensor, stage: int = 0, stages: int = 1
) -> tuple[dict[str, Any], Model]:
    """What any RoI head gives on RoIs, in its own classes.

    Args:
        roi_head (nn.Module): The head.
        features (Sequence[Tensor]): Of its neck.
        rois (Tensor): (R, 5).
        stage (int): Of the student's cascade, from 0.
        stages (int): How many the student has.

    Returns:
        tuple[dict, nn.Module]: ``cls_score``, ``bbox_pred`` and ``bbox_feats`` by the names that
        MMDetection gives them, and the box head that the deltas belong to.
    """
    features = full_precision(features)
    heads = box_heads(roi_head)
    if not isinstance(roi_head.bbox_head, nn.ModuleList):
        return _run_box_head(heads[0], roi_head._bbox_forward, features, rois), heads[0]
    context = _context(roi_head, features)
    at = lambda i: _run_box_head(heads[i], roi_head._bbox_forward, i, features, rois, **context)
    if len(heads) == stages:
        return at(stage), heads[stage]
    outputs = [at(i) for i in range(len(heads))]
    mean = torch.stack([part['cls_score'] for part in outputs]).mean(dim=0)
    return {**outputs[-1], 'cls_score': mean}, heads[-1]


def full_precision(features: Sequence[Tensor]) -> list[Tensor]:
    """Maps as MMDetection's extractors need them, which put the RoIs into their precision.

    The area of a RoI of 256 pixels is beyond float16, its level then a wrong one; bfloat16 rounds
    coordinates to several pixels.
    """
    return [part.float() if part.dtype in HALF else part for part in features]


def _run_box_head(
    head: Model, forward: Callable[..., dict], *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """What a box head gives, and what it is given: not every RoI head tells its features."""
    given = []
    hook = head.register_forward_pre_hook(lambda head, args: given.append(args[0]))
    try:
        return {**forward(*args, **kwargs), 'bbox_feats': given[0]}
    finally:
        hook.remove()


def _context(roi_head: Model, features: Sequence[Tensor]) -> dict[str, Tensor]:
    """What the box heads of HTC and SCNet see beside a RoI's own features."""
    context = {}
    if getattr(roi_head, 'with_semantic', False):
        context['semantic_feat'] = roi_head.semantic_head(features)[1]
    if getattr(roi_head, 'with_glbctx', False):
        context['glbctx_feat'] = roi_head.glbctx_head(features)[1]
    return context
