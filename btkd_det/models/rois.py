"""What the box heads of student and teacher see and say, on one set of RoIs."""

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import ConfigError


@dataclass
class RoIs:
    """What a box head saw and said in one iteration; R RoIs, C classes.

    Attributes:
        head (nn.Module): The student's box head.
        rois (Tensor): (R, 5): index of the image, then x1, y1, x2, y2 in pixels of the padded
            input.
        features (Tensor): (R, F, h, w), what the head was given.
        logits (Tensor): (R, C + 1), background last.
        deltas (Tensor | None): (R, 4) or (R, 4 C), ``None`` for a head without boxes.
        labels (Tensor): (R,), ``C`` for background.
        box_targets (Tensor): (R, 4), the ground truth as the head's deltas, or as boxes where
            the head's loss takes decoded boxes; 0 for background.
    """

    head: nn.Module
    rois: Tensor
    features: Tensor
    logits: Tensor
    deltas: Tensor
    labels: Tensor
    box_targets: Tensor

    @property
    def foreground(self):
        """(R,) bool: the RoIs that were assigned an object."""
        return self.labels < self.head.num_classes

    def own_deltas(self, deltas, head):
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

    def true_boxes(self):
        """(R, 4): the ground truth's box of each foreground RoI."""
        if self.head.reg_decoded_bbox:
            return self.box_targets
        return self.head.bbox_coder.decode(self.rois[:, 1:], self.box_targets)


class Recorded(list):
    """What the box heads of a RoI head saw and said: a :class:`RoIs` for each stage that ran.

    Args:
        roi_head (nn.Module): The student's.
    """

    def __init__(self, roi_head):
        super().__init__()
        self._name = type(roi_head).__name__
        self._stages = len(box_heads(roi_head))

    def check(self):
        """Raise where a loss was computed and the recording missed it.

        Raises:
            ConfigError: A box head never called its ``loss_and_target``.
        """
        if len(self) != self._stages:
            raise ConfigError(
                f'roi_head.type: {self._name} has {self._stages} box head(s), and {len(self)} of '
                'them called loss_and_target, where RoIs, logits and labels meet; valid for what '
                'is taken at the RoIs: a RoI head that calls it, such as StandardRoIHead or '
                'CascadeRoIHead; distillation at fpn works with any'
            )


def box_heads(roi_head):
    """The box heads of a RoI head, one for each stage.

    Args:
        roi_head (nn.Module): Of any two-stage detector, or whatever else has a ``bbox_head``.

    Returns:
        list[nn.Module]: One, or as many as the cascade has stages.
    """
    heads = roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def check_logits(heads, field):
    """Raise where the logits of box heads are not one for each class, background last.

    Args:
        heads (list[tuple[str, nn.Module]]): Whose each box head is, and the head.
        field (str): What needs the logits, for the error message.

    Raises:
        ConfigError: The head's ``loss_cls`` gives its logits another meaning, as Seesaw's does.
    """
    for whose, head in heads:
        if getattr(head.loss_cls, 'custom_cls_channels', False):
            raise ConfigError(
                f'{field}: the {whose} learned by {type(head.loss_cls).__name__} '
                '(roi_head.bbox_head.loss_cls), whose logits are not one for each class and one '
                'for background; valid: a loss of plain logits, such as CrossEntropyLoss'
            )


@contextlib.contextmanager
def recorded(roi_head):
    """Within this context, note what meets in the box heads' ``loss_and_target``.

    It is the one call in which RoIs, logits and assigned targets come together, in almost every
    RoI head of MMDetection; :meth:`Recorded.check` tells of one that never makes it. Only these
    instances are touched, and only for the time of the context.

    Args:
        roi_head (nn.Module): The student's.

    Yields:
        Recorded: One entry for each stage that ran, in their order.
    """
    seen, given, undo = Recorded(roi_head), {}, []
    for head in box_heads(roi_head):
        original = head.loss_and_target

        def loss_and_target(
            cls_score, bbox_pred, rois, *args, _head=head, _original=original, **kwargs
        ):
            result = _original(cls_score, bbox_pred, rois, *args, **kwargs)
            labels, _, box_targets, _ = result['bbox_targets']
            seen.append(RoIs(_head, rois, given[_head], cls_score, bbox_pred, labels, box_targets))
            return result

        head.loss_and_target = loss_and_target
        undo.append(
            head.register_forward_pre_hook(lambda head, args: given.update({head: args[0]}))
        )
    try:
        yield seen
    finally:
        for head, hook in zip(box_heads(roi_head), undo, strict=True):
            hook.remove()
            del head.loss_and_target


def look_at(teacher, features, rois, stage, stages):
    """What a teacher's RoI head says of given RoIs, in the student's classes.

    A cascade of as many stages as the student's answers stage by stage; another cascade answers
    with the mean over its stages, as it does when it predicts.

    Args:
        teacher (Teacher): Its model has a RoI head.
        features (Sequence[Tensor]): Of its neck.
        rois (Tensor): (R, 5).
        stage (int): Of the student's cascade, from 0.
        stages (int): How many the student has.

    Returns:
        tuple[dict, nn.Module]: ``cls_score``, ``bbox_pred`` and ``bbox_feats`` by the names that
        MMDetection gives them, and the head that the deltas belong to.
    """
    said, head = ask(teacher.model.roi_head, features, rois, stage, stages)
    said['cls_score'] = teacher.in_students_classes(said['cls_score'])
    if teacher.class_map is not None and not head.reg_class_agnostic and head.with_reg:
        deltas = said['bbox_pred'].unflatten(1, (-1, 4))
        said['bbox_pred'] = deltas[:, teacher.class_map].flatten(1)
    return said, head


def ask(roi_head, features, rois, stage=0, stages=1):
    """As :func:`look_at`, of any RoI head and in its own classes."""
    heads = box_heads(roi_head)
    if not isinstance(roi_head.bbox_head, nn.ModuleList):
        return _answer(heads[0], roi_head._bbox_forward, features, rois), heads[0]
    context = _context(roi_head, features)
    at = lambda i: _answer(heads[i], roi_head._bbox_forward, i, features, rois, **context)
    if len(heads) == stages:
        return at(stage), heads[stage]
    said = [at(i) for i in range(len(heads))]
    answer = dict(said[-1])
    answer['cls_score'] = torch.stack([part['cls_score'] for part in said]).mean(dim=0)
    return answer, heads[-1]


def _answer(head, forward, *args, **kwargs):
    """What a box head says, and what it is given: not every RoI head tells its features."""
    given = []
    hook = head.register_forward_pre_hook(lambda head, args: given.append(args[0]))
    try:
        return {**forward(*args, **kwargs), 'bbox_feats': given[0]}
    finally:
        hook.remove()


def _context(roi_head, features):
    """What the box heads of HTC and SCNet look at beside a RoI's own features."""
    context = {}
    if getattr(roi_head, 'with_semantic', False):
        context['semantic_feat'] = roi_head.semantic_head(features)[1]
    if getattr(roi_head, 'with_glbctx', False):
        context['glbctx_feat'] = roi_head.glbctx_head(features)[1]
    return context
