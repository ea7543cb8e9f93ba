"""Distilled single-stage detectors: every position of the dense heads, judged by its target."""

import contextlib
from dataclasses import dataclass, field

import torch
from mmdet.models import dense_heads
from mmdet.models.detectors import SingleStageDetector
from mmengine.dist import get_world_size

from ..errors import ConfigError
from ..registry import MODELS
from .data_classes import FEATURES_ALONE
from .detector import DistilledDetectorMixin
from .distilled import undisturbed_rng
from .probe import probed

#: Heads of MMDetection whose ``loss_by_feat`` tells ``loss_cls`` of every anchor exactly once, in
#: the order of :func:`rows`, with a class index each; so do those that inherit it.
RECORDED = (
    dense_heads.AnchorHead,
    dense_heads.ATSSHead,
    dense_heads.DDODHead,
    dense_heads.FCOSHead,
    dense_heads.FoveaHead,
    dense_heads.GFLHead,
    dense_heads.RepPointsHead,
    dense_heads.RTMDetHead,
    dense_heads.SABLRetinaHead,
    dense_heads.YOLOFHead,
)


@dataclass
class Dense:
    """What a dense head said and was told in one iteration; R rows: anchors of all levels.

    Attributes:
        outputs (tuple): What the head's ``forward`` gave: a list of maps for each kind.
        logits (list[Tensor]): (R_l, C) of each call of the classification loss.
        labels (list[Tensor]): (R_l,) of each, ``C`` for background.
        counted (list[Tensor]): (R_l,) bool of each: whether the anchor has a weight above 0 in
            that loss. Those without are neither an object nor background: RetinaNet's with an
            IoU from 0.4 to 0.5, and all that lie in the padding.
    """

    outputs: tuple = ()
    logits: list = field(default_factory=list)
    labels: list = field(default_factory=list)
    counted: list = field(default_factory=list)


@MODELS.register_module()
class DistilledSingleStageDetector(DistilledDetectorMixin, SingleStageDetector):
    """A single-stage detector (RetinaNet, FCOS, ATSS, GFL, RTMDet) that learns from a teacher.

    Student and teacher say something at every anchor of every level; the student's assigner says
    which object each anchor stands for, and the teacher is judged by that label. Anchors that
    the student's own classification loss leaves out count in none of the losses here.

    Sites: ``dense_logits``, the class logits of all anchors; ``dense_boxes``, the distributions
    over box sides of GFL's heads; ``fpn``, the maps of the neck. The heads of both have to have
    the same anchors: as many levels, of the same sizes, with as many anchors at a position.

    A head with sigmoids has no logit for background, so one is put beside the classes: minus the
    largest of them (ours). It is the row's maximum where every probability is below one half,
    which is what the teacher has to say of background to be right. A rule of correction treats it
    as one more class: where background is the label, ``swap`` exchanges it with the largest class
    alone, and any further class above one half stays as likely as the teacher said it was.
    :class:`~btkd_det.losses.BinaryKDLoss` compares the classes one by one and leaves it out.

    Args:
        *args, **kwargs: As ``mmdet.models.SingleStageDetector``.
        use_syncbn (bool): As RTMDet's: normalize over all processes.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.models.sites.Site`.

    Raises:
        ConfigError: See :class:`Distilled`; also where the student's head cannot be recorded,
            the teacher's does not match, or a loss asks for what a dense head does not have.
    """

    sites = {
        'dense_logits': 'LogitLoss',
        'dense_boxes': 'DistributionLoss',
        'fpn': 'FeatureLoss',
    }

    def __init__(self, *args, use_syncbn=False, **kwargs):
        super().__init__(*args, **kwargs)
        if use_syncbn and get_world_size() > 1:
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(self)

    def check_teacher(self):
        """Hold the dense heads of student and teacher against each other."""
        super().check_teacher()
        if not self.distill.keys() - {'fpn'}:
            return
        check_recorded(self.bbox_head)
        its = getattr(self.teacher.model, 'bbox_head', None)
        if its is None:
            raise ConfigError(
                f'teacher.config: {type(self.teacher.model).__name__} has no dense head; valid '
                'for this site is a single-stage detector, or use the site fpn alone'
            )
        _check_heads(self.bbox_head, its, self.teacher.class_map, self.distill)
        _check_levels(self, self.teacher.model)
        several = len(self.distill.at('dense_logits')) > 1
        for i, loss in enumerate(self.distill.at('dense_logits')):
            field = f'distill.dense_logits[{i}]' if several else 'distill.dense_logits'
            _check_logit_loss(loss, field, self.bbox_head.num_classes)

    def host_loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and what its head said and was told."""
        if not self.distill.keys() - {'fpn'}:
            return super().host_loss(batch_inputs, batch_data_samples)
        with recorded(self.bbox_head) as seen:
            losses, _ = super().host_loss(batch_inputs, batch_data_samples)
        return losses, seen

    def distill_heads(self, seen, features, speaking):
        """The losses at the anchors; ``seen`` is a :class:`Dense`."""
        losses = {}
        if not speaking - {'fpn'}:
            return losses
        head = self.bbox_head
        with self.teacher.at_work(features[0].device.type):
            said = self.teacher.model.bbox_head(features)
        _check_told(seen, head)
        labels, counted = torch.cat(seen.labels), torch.cat(seen.counted)
        foreground = (labels >= 0) & (labels < head.num_classes)
        if 'dense_logits' in speaking:
            width = self.teacher.model.bbox_head.cls_out_channels
            taught = self.teacher.in_students_classes(rows(said[0], width))
            logits = torch.cat(seen.logits), taught
            _check_rows(*logits)
            if head.use_sigmoid_cls:
                logits = [with_background(part) for part in logits]
            losses |= self.distill.evaluate(
                'dense_logits',
                *logits,
                labels.clamp(0, head.num_classes),
                foreground=foreground,
                counted=counted & (labels >= 0),
            )
        if 'dense_boxes' in speaking:
            width = 4 * (head.reg_max + 1)
            boxes = [rows(outputs[1], width) for outputs in (seen.outputs, said)]
            _check_rows(*boxes)
            losses |= self.distill.evaluate('dense_boxes', *boxes, foreground)
        return losses


@contextlib.contextmanager
def recorded(bbox_head):
    """Within this context, note what a dense head says and what its classification loss is told.

    Logits and assigned labels come together, in the same order of rows, in the call of the
    head's ``loss_cls``, whatever the head's own way to assign is.

    Args:
        bbox_head (nn.Module): The student's.

    Yields:
        Dense: Filled while the head computes its loss.
    """
    seen = Dense()

    def told(module, args, kwargs):
        logits, target = args[:2]
        weight = args[2] if len(args) > 2 else kwargs.get('weight')
        # GFL's and RTMDet's losses take the label together with a quality.
        labels = target[0] if isinstance(target, (tuple, list)) else target
        seen.logits.append(logits)
        seen.labels.append(labels)
        # FCOS weighs none of its points.
        seen.counted.append(
            torch.ones_like(labels, dtype=torch.bool) if weight is None else weight > 0
        )

    def said(module, args, result):
        seen.outputs = result

    hooks = [
        bbox_head.loss_cls.register_forward_pre_hook(told, with_kwargs=True),
        bbox_head.register_forward_hook(said),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def rows(maps, width):
    """Maps of all levels as rows, in the order in which MMDetection flattens them.

    Args:
        maps (Sequence[Tensor]): (N, A * width, H, W) each.
        width (int): What one anchor has.

    Returns:
        Tensor: (R, width), R the sum of N * H * W * A over the levels.
    """
    return torch.cat([part.permute(0, 2, 3, 1).reshape(-1, width) for part in maps])


def with_background(logits):
    """Sigmoid logits with a column for background: minus the largest of them.

    Args:
        logits (Tensor): (R, C).

    Returns:
        Tensor: (R, C + 1).
    """
    return torch.cat([logits, -logits.amax(dim=1, keepdim=True)], dim=1)


def check_recorded(bbox_head):
    """Raise a ConfigError if logits and labels of a dense head cannot be recorded.

    A head from outside of MMDetection is taken at its word; the first iteration checks it.

    Args:
        bbox_head (nn.Module): The student's.
    """
    owners = [cls for cls in type(bbox_head).__mro__ if 'loss_by_feat' in vars(cls)]
    known = not owners or owners[0] in RECORDED or not owners[0].__module__.startswith('mmdet.')
    if not hasattr(bbox_head, 'loss_cls') or not known:
        raise ConfigError(_not_recorded(bbox_head))


def _not_recorded(bbox_head):
    return (
        f'bbox_head: {type(bbox_head).__name__} does not tell its loss_cls of every anchor with '
        'one class each, so nothing can stand at dense_logits or dense_boxes; valid: a head with '
        f'the loss_by_feat of {", ".join(cls.__name__ for cls in RECORDED)}, or use the site fpn '
        'alone'
    )


def _check_told(seen, bbox_head):
    """What a head from outside of MMDetection turns out to do; shapes only, no values."""
    maps = seen.outputs[0] if seen.outputs else ()
    anchors = sum(part.numel() for part in maps) // bbox_head.cls_out_channels
    shapes = [tuple(part.shape) for part in (*seen.labels, *seen.counted)]
    if sum(map(len, seen.logits)) != anchors or any(len(shape) != 1 for shape in shapes):
        raise ConfigError(_not_recorded(bbox_head))


def _check_heads(student, teacher, class_map, sites):
    """Raise a ConfigError unless two dense heads say the same kind of thing."""
    if class_map is None and 'dense_logits' in sites:
        ours, its = student.num_classes, teacher.num_classes
        if ours != its:
            raise ConfigError(
                f"teacher.config: the teacher's bbox_head.num_classes is {its} and the student's "
                f"{ours}; valid is a teacher of the student's classes, a teacher.class_map that "
                f'finds them among its own, {FEATURES_ALONE}'
            )
    of_logits = ['use_sigmoid_cls'] if 'dense_logits' in sites else []
    for name in [*of_logits, 'num_base_priors']:
        mine, other = getattr(student, name, None), getattr(teacher, name, None)
        if mine != other:
            raise ConfigError(
                f"teacher.config: the teacher's bbox_head.{name} is {other} and the "
                f"student's {mine}; both have to be equal"
            )
    if class_map is not None and (
        len(class_map) != student.num_classes or max(class_map) >= teacher.num_classes
    ):
        raise ConfigError(
            f'teacher.class_map: got {class_map}; valid: for each of the {student.num_classes} '
            f'classes of the student an index below {teacher.num_classes}'
        )
    bins = getattr(student, 'reg_max', None), getattr(teacher, 'reg_max', None)
    fits = bins[0] is not None and bins[0] == bins[1] and hasattr(student, 'integral')
    if 'dense_boxes' in sites and not fits:
        raise ConfigError(
            "distill.dense_boxes: needs distributions over box sides, GFL's, with equal "
            f'bbox_head.reg_max; got {bins[0]} in the student, {bins[1]} in the teacher'
        )


def _check_levels(student, teacher):
    """Raise a ConfigError unless the dense heads of two detectors have maps of the same sizes."""
    training = student.training
    student.eval()
    with undisturbed_rng(), torch.no_grad():
        # Two of them: GroupNorm may refuse a single value per group at the smallest map.
        (ours, its), images = probed(
            {'model': student, 'teacher.config': teacher},
            lambda model, images: [
                tuple(maps.shape[2:]) for maps in model.bbox_head(model.extract_feat(images))[0]
            ],
            count=2,
        )
    student.train(training)
    if ours != its:
        size = ' x '.join(map(str, images.shape[2:]))
        raise ConfigError(
            f"teacher.config: of an image of {size} the teacher's dense head has maps of {its} "
            f"and the student's of {ours}; both need the same levels with the same strides"
        )


def _check_logit_loss(loss, field, num_classes):
    """Raise a ConfigError where a loss asks for what the anchors of a dense head do not have."""
    if 'box_ious' in loss.extra_inputs:
        raise ConfigError(
            f"{field}.judge: 'class_and_box' of {type(loss).__name__} needs the boxes of RoIs, and "
            "a dense head has anchors; valid in a single-stage detector: 'class'"
        )
    if getattr(loss, 'judge', None) == 'object':
        raise ConfigError(
            f"{field}.judge: 'object' of {type(loss).__name__} needs a column for the background, "
            "and a dense head has none; valid in a single-stage detector: 'class', with "
            'foreground_only=True to leave the background alone'
        )
    by_class = isinstance(loss, MODELS.get('btkd_det.IKDLoss'))
    if by_class and loss.num_classes != num_classes + 1:
        raise ConfigError(
            f'{field}.num_classes: got {loss.num_classes}; valid: {num_classes + 1}, the '
            f"{num_classes} classes of the student's bbox_head and a column for background"
        )


def _check_rows(student, teacher):
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's dense head has {tuple(student.shape)} anchors and outputs and the "
            f"teacher's {tuple(teacher.shape)}: both heads need the same levels and anchors"
        )
