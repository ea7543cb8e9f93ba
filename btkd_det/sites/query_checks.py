"""Whether the queries of a student and its teacher can be compared."""

from mmdet.models.dense_heads import DDQDETRHead, DETRHead, GroundingDINOHead

from ..errors import ConfigError
from ..hints import Model
from ..registry import MODELS
from .dense_checks import check_compares_softmax, check_head_classes

#: Heads of DETR's relatives that cannot be read, and why.
REFUSED = {
    DDQDETRHead: 'matches those of its queries alone that are distinct',
    GroundingDINOHead: 'has a logit for each word of a text instead of one for each class',
}


def check_queries(site: str, student: Model, teacher: Model) -> None:
    """Raise unless both heads give class logits and boxes for queries that they match.

    Args:
        site (str): Which site reads them.
        student (nn.Module): The student.
        teacher (Teacher): The teacher.

    Raises:
        ConfigError: A head is of another kind, the classes differ and no ``class_map`` says how,
            or one has sigmoids and the other a softmax.
    """
    head: Model = student.bbox_head
    its: Model = getattr(teacher.model, 'bbox_head', None)
    for field, whose in (('bbox_head', head), ('teacher.config', its)):
        check_head(site, field, whose)
    if not hasattr(head, 'assigner'):
        raise ConfigError(
            'train_cfg: has no assigner, and the site '
            f'{site} compares queries that are matched to objects; valid: train_cfg=dict('
            'assigner=dict(type=...)) of the model'
        )
    check_head_classes(head, its, teacher)
    sigmoids = [bool(part.loss_cls.use_sigmoid) for part in (head, its)]
    if sigmoids[0] != sigmoids[1]:
        kinds = ['sigmoids' if sigmoid else 'a softmax' for sigmoid in sigmoids]
        raise ConfigError(
            f"teacher.config: the teacher's head has {kinds[1]} and the student's {kinds[0]} "
            '(bbox_head.loss_cls.use_sigmoid); both have to be equal'
        )


def check_head(site: str, field: str, head: Model) -> None:
    """Raise a ConfigError unless the queries of a head can be read.

    Args:
        site (str): Which site reads them.
        field (str): Where the head stands in the config.
        head (Model): The head.
    """
    reasons = [reason for kind, reason in REFUSED.items() if isinstance(head, kind)]
    if isinstance(head, DETRHead) and not reasons:
        return
    reason = reasons[0] if reasons else 'is no head of DETR or of a relative of it'
    raise ConfigError(
        f'{field}: the site {site} cannot read a {type(head).__name__}: it {reason}; valid: the '
        'heads of DETR, Conditional DETR, DAB-DETR, Deformable DETR and DINO, or use the sites '
        'fpn and backbone (--distill feature)'
    )


def check_query_loss(loss: Model, field: str, head: Model) -> None:
    """Raise a ConfigError where a loss does not go with the logits of a head.

    Args:
        loss (LogitLoss): Of the site.
        field (str): Where it stands in the config.
        head (nn.Module): The student's.
    """
    count = head.num_classes + 1
    if isinstance(loss, MODELS.get('btkd_det.IKDLoss')) and loss.num_classes != count:
        raise ConfigError(
            f'{field}.num_classes: got {loss.num_classes}; valid: {count}, the {count - 1} classes '
            "of the student's bbox_head and one for background"
        )
    if not head.loss_cls.use_sigmoid:
        why = f'the {type(head).__name__} has a softmax (bbox_head.loss_cls.use_sigmoid=False)'
        check_compares_softmax(loss, field, why)
