"""Whether the dense heads of a student and its teacher can be compared."""

from collections.abc import Sequence

from mmdet.models import dense_heads
from torch import nn

from ..errors import ConfigError
from ..hints import Model
from ..registry import MODELS
from ..teacher.class_map import FEATURES_ALONE
from .dense_readers import READERS, reader_of
from .probe import probed

#: Heads of MMDetection whose ``loss_by_feat`` gives ``loss_cls`` every anchor exactly once, in the
#: order of :func:`~btkd_det.sites.dense.rows`, with a class index each; so do those that inherit
#: it.
KNOWN_HEADS = (
    dense_heads.AnchorHead,
    dense_heads.ATSSHead,
    dense_heads.CondInstBboxHead,
    dense_heads.DDODHead,
    dense_heads.FCOSHead,
    dense_heads.FoveaHead,
    dense_heads.GFLHead,
    dense_heads.RepPointsHead,
    dense_heads.RTMDetHead,
    dense_heads.RTMDetInsHead,
    dense_heads.SABLRetinaHead,
    dense_heads.TOODHead,
    dense_heads.VFNetHead,
    dense_heads.YOLOFHead,
)

#: Heads that cannot be recorded, and why.
REASONS = {
    dense_heads.AutoAssignHead: 'it weighs all positions of an object against each other',
    dense_heads.CenterNetUpdateHead: 'it learns from heatmaps without a class for each position',
    dense_heads.CornerHead: 'it finds corners',
    dense_heads.FreeAnchorRetinaHead: 'it learns from bags of anchors',
    dense_heads.GuidedAnchorHead: 'as a teacher it leaves positions out that seem empty',
    dense_heads.YOLOV3Head: 'its classes lie in one map with boxes and objectness',
}


def heads_of(student: Model, teacher: Model) -> tuple[nn.Module, nn.Module]:
    """The dense heads of student and teacher.

    Args:
        student (nn.Module): The student.
        teacher (Teacher): The teacher.

    Returns:
        tuple[nn.Module, nn.Module]: The student's and the teacher's.

    Raises:
        ConfigError: The student's cannot be recorded, or one of them has none.
    """
    own = getattr(student, 'bbox_head', None)
    if own is None:
        # MaskFormer inherits a single-stage detector's class and has masks for its queries.
        raise ConfigError(
            f'distill: {type(student).__name__} has no dense head (bbox_head); valid for this site '
            'is a single-stage detector, or use the site fpn alone'
        )
    check_known_loss(own)
    its = getattr(teacher.model, 'bbox_head', None)
    if its is None:
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} has no dense head; valid '
            'for this site is a single-stage detector, or use the site fpn alone'
        )
    return own, its


def check_equal(head: Model, its: Model, names: Sequence[str]) -> None:
    """Raise a ConfigError unless two heads agree in the attributes of these names."""
    for name in names:
        mine, other = getattr(head, name, None), getattr(its, name, None)
        if mine != other:
            raise ConfigError(
                f"teacher.config: the teacher's bbox_head.{name} is {other} and the "
                f"student's {mine}; both have to be equal"
            )


def check_known_loss(bbox_head: Model) -> None:
    """Raise a ConfigError if logits and labels of a dense head cannot be recorded.

    A head from outside of MMDetection is taken at its word; the first iteration checks it.
    """
    owners = [cls for cls in type(bbox_head).__mro__ if 'loss_by_feat' in vars(cls)]
    outside = not owners or not owners[0].__module__.startswith('mmdet.')
    read = reader_of(bbox_head) is not None
    known = read or outside or owners[0] in KNOWN_HEADS
    if not (read or hasattr(bbox_head, 'loss_cls')) or not known:
        raise unknown_loss(bbox_head)


def unknown_loss(bbox_head: Model) -> ConfigError:
    """The error for a dense head whose logits and labels cannot be recorded."""
    reasons = [reason for kind, reason in REASONS.items() if isinstance(bbox_head, kind)]
    why = f' ({reasons[0]})' if reasons else ''
    names = sorted(cls.__name__ for cls in (*KNOWN_HEADS, *READERS))
    return ConfigError(
        f'bbox_head: {type(bbox_head).__name__} does not tell its loss_cls of every anchor with '
        f'one class each{why}, so nothing can stand at dense_logits or dense_boxes; valid: a head '
        f'with the loss_by_feat of {", ".join(names)}, or use the site fpn alone (--distill '
        'feature)'
    )


def check_head_classes(head: Model, its: Model, teacher: Model) -> None:
    """Raise a ConfigError unless the teacher's classes are, or are mapped to, the student's.

    Args:
        head (nn.Module): The student's.
        its (nn.Module): The teacher's.
        teacher (Teacher): The teacher.
    """
    if teacher.class_map is not None:
        teacher.class_map.check(head.num_classes, its.num_classes)
    elif head.num_classes != its.num_classes:
        raise ConfigError(
            f"teacher.config: the teacher's bbox_head.num_classes is {its.num_classes} and the "
            f"student's {head.num_classes}; valid is a teacher of the student's classes, a "
            f'teacher.class_map that finds them among its own, {FEATURES_ALONE}'
        )


def check_levels(student: Model, teacher: Model) -> None:
    """Raise unless the dense heads of two detectors have maps of the same sizes.

    Args:
        student (nn.Module): The student, in eval mode.
        teacher (nn.Module): The teacher's model.

    Raises:
        ConfigError: They have not.
    """
    # Two of them: GroupNorm may refuse a single value per group at the smallest map.
    (ours, its), images = probed(
        {'model': student, 'teacher.config': teacher},
        lambda model, images: [
            tuple(maps.shape[2:]) for maps in model.bbox_head(model.extract_feat(images))[0]
        ],
        count=2,
    )
    if ours != its:
        size = ' x '.join(map(str, images.shape[2:]))
        raise ConfigError(
            f"teacher.config: of an image of {size} the teacher's dense head has maps of {its} "
            f"and the student's of {ours}; both need the same levels with the same strides"
        )


def check_compares_softmax(loss: Model, field: str, why: str) -> None:
    """Raise a ConfigError where a loss, or what it is around, compares sigmoids.

    Args:
        loss (LogitLoss): Of a site whose logits have a softmax.
        field (str): Where it stands in the config.
        why (str): What says that they have one.
    """
    if isinstance(getattr(loss, 'host', loss), MODELS.get('btkd_det.BinaryKDLoss')):
        raise ConfigError(f'{field}.type: BinaryKDLoss compares sigmoids, and {why}; valid: KDLoss')
