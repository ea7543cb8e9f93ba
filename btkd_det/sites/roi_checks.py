"""Whether the box heads of a student and its teacher can be compared."""

from mmdet.models.roi_heads import MultiInstanceRoIHead, SparseRoIHead
from mmdet.models.task_modules.coders import BucketingBBoxCoder
from torch import nn

from ..errors import ConfigError
from ..hints import Model
from ..teacher.class_map import FEATURES_ALONE
from .rois import box_heads

#: RoI heads that give no logits for RoIs alone: they need a proposal's features, or give several
#: answers for each RoI.
_WITHOUT_LOGITS = (SparseRoIHead, MultiInstanceRoIHead)


def heads_of(student: Model | None, teacher: Model) -> list[tuple[str, nn.Module]]:
    """The box heads to check, with the words for whose they are.

    Args:
        student (nn.Module | None): The student; ``None`` leaves its heads out.
        teacher (Teacher): The teacher.

    Returns:
        list[tuple[str, nn.Module]]: ``'student'`` or ``'teacher'``, and a box head.
    """
    own = [] if student is None else box_heads(student.roi_head)
    return [
        *(('student', head) for head in own),
        *(('teacher', head) for head in box_heads(teacher.model.roi_head)),
    ]


def check_roi_heads(site: str, student: Model, teacher: Model, judging: bool = False) -> None:
    """Raise unless both models have a RoI head that can be read.

    Args:
        site (str): Which site reads it.
        student (nn.Module): The student.
        teacher (Teacher): The teacher.
        judging (bool): Whether the teacher's head alone is needed, as the judge of a gate.

    Raises:
        ConfigError: The teacher has no RoI head, or one of them is of a kind that does not show
            what is needed.
    """
    if getattr(teacher.model, 'roi_head', None) is None:
        raise ConfigError(
            f'teacher.config: {type(teacher.model).__name__} has no RoI head; valid for the site '
            f'{site} is a two-stage detector, such as Faster R-CNN'
        )
    for field, roi_head, refused, gate in (
        ('roi_head.type', student.roi_head, () if judging else _WITHOUT_LOGITS, ''),
        (
            'teacher.config',
            teacher.model.roi_head,
            _WITHOUT_LOGITS,
            " without gate='teacher_right'",
        ),
    ):
        if isinstance(roi_head, refused):
            raise ConfigError(
                f'{field}: the site {site} cannot read a {type(roi_head).__name__}; valid: a RoI '
                'head that classifies each RoI once, such as StandardRoIHead or CascadeRoIHead, '
                f'or the site fpn{gate} (--distill feature)'
            )


def check_same_classes(student: Model, teacher: Model) -> None:
    """Raise a ConfigError unless the teacher's classes are, or are mapped to, the student's."""
    ours, its = box_heads(student.roi_head)[0].num_classes, teacher.num_classes
    if teacher.class_map is not None:
        teacher.class_map.check(ours, its)
    elif ours != its:
        raise ConfigError(
            f'teacher.config: the teacher tells {its} classes apart and the student {ours} '
            f"(roi_head.bbox_head.num_classes); valid is a teacher of the student's classes, a "
            f'teacher.class_map that finds them among its own, {FEATURES_ALONE}'
        )


def check_logits(heads: list[tuple[str, nn.Module]], field: str) -> None:
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


def check_deltas(heads: list[tuple[str, nn.Module]], field: str) -> None:
    """Raise where a box head predicts no box deltas.

    Args:
        heads (list[tuple[str, nn.Module]]): Whose each box head is, and the head.
        field (str): What needs the boxes, for the error message.

    Raises:
        ConfigError: It has no coder of deltas, or no regression.
    """
    for whose, head in heads:
        coder = getattr(head, 'bbox_coder', None)
        deltas = hasattr(coder, 'encode') and not isinstance(coder, BucketingBBoxCoder)
        if not deltas or not head.with_reg:
            raise ConfigError(
                f"{field}: compares boxes, but the {whose}'s {type(head).__name__} predicts no box "
                'deltas; valid is a box head with a bbox_coder of deltas (DeltaXYWHBBoxCoder) and '
                'with_reg=True'
            )
