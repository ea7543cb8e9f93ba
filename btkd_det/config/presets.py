"""Every number that ``--distill`` and the recipes put into a config, with where it comes from."""

from typing import Any, NamedTuple

from .distilled_types import ANY, CLASSIFIER, QUERIES, SINGLE_STAGE, SOFTMAX, TWO_STAGE
from .feature_presets import FEATURE_PRESETS


class Value(NamedTuple):
    """An argument of a loss.

    Attributes:
        value (Any): What the config gets; ``None`` where the model decides, such as a number of
            classes.
        source (str): Where it comes from: a paper, its code, or ours.
    """

    value: Any
    source: str


_KD = 'KD (arXiv 1503.02531), at the T of 4 that is common on CIFAR-100'
_DKD = 'DKD (arXiv 2203.08679) on CIFAR-100, where some pairs have a beta below 8'
_DKD_DETECTION = "DKD's code for detectors"
_NKD = 'NKD (arXiv 2303.13005)'
_WTTM = 'WTTM (arXiv 2402.11148): its defaults, where it chooses for each pair'
_IKD = 'IKD (AAAI 2025)'
_PKD = "PKD's configs in MMRazor"
_CROSSKD = "CrossKD's configs for RetinaNet, ATSS and FCOS (arXiv 2306.11369)"
_STUDIES = 'ours, chosen by the studies (docs/results.md)'
_MODEL = 'the number of classes of the model'

#: Name to the type of a loss and its arguments.
VALUES = {
    'kd': ('KDLoss', dict(temperature=Value(4.0, _KD))),
    'kd at rois': (
        'KDLoss',
        dict(temperature=Value(1.0, f'ours, as in {_DKD_DETECTION}')),
    ),
    'dkd': (
        'DKDLoss',
        dict(
            alpha=Value(1.0, _DKD),
            beta=Value(8.0, _DKD),
            temperature=Value(4.0, _DKD),
            warmup=Value(20 / 240, f'{_DKD}: 20 of 240 epochs'),
        ),
    ),
    'dkd at rois': (
        'DKDLoss',
        dict(
            alpha=Value(1.0, _DKD_DETECTION),
            beta=Value(0.25, _DKD_DETECTION),
            temperature=Value(1.0, _DKD_DETECTION),
        ),
    ),
    'nkd': ('NKDLoss', dict(gamma=Value(1.5, _NKD), temperature=Value(1.0, _NKD))),
    'wttm': ('WTTMLoss', dict(gamma=Value(0.3, _WTTM), beta=Value(1.5, _WTTM))),
    'binary': ('BinaryKDLoss', {}),
    'binary at anchors': ('BinaryKDLoss', dict(focus=Value(1.0, _CROSSKD))),
    'ikd': (
        'IKDLoss',
        dict(
            num_classes=Value(None, _MODEL),
            temperature=Value(1.0, _IKD),
            loss_weight=Value(6.5, f'{_IKD}, beside DKD'),
        ),
    ),
    'ikd beside kd': (
        'IKDLoss',
        dict(
            num_classes=Value(None, _MODEL),
            temperature=Value(1.0, _IKD),
            loss_weight=Value(2.0, _STUDIES),
        ),
    ),
    'ikd beside nkd': (
        'IKDLoss',
        dict(
            num_classes=Value(None, _MODEL),
            temperature=Value(1.0, _IKD),
            loss_weight=Value(6.0, f'{_IKD}, beside NKD'),
        ),
    ),
    'ikd at rois': (
        'IKDLoss',
        dict(num_classes=Value(None, _MODEL), loss_weight=Value(1.0, 'ours')),
    ),
    'pkd': ('PKDLoss', dict(loss_weight=Value(6.0, _PKD))),
    'reviewkd': ('ReviewKDLoss', {}),
}

#: What makes BTKD robust: a wrong label is weighed against the teacher, a teacher that is not
#: ahead fades, and the teacher's doubts are scaled to what it gets wrong.
ROBUST_VALUES = dict(
    rectify=Value(dict(type='posterior', label_noise='estimated'), _STUDIES),
    schedule=Value('none', _STUDIES),
    trust=Value('relative', _STUDIES),
    calibrate=Value(True, _STUDIES),
)
#: What differs at a place. In detectors a class is put right where teacher and label name two
#: objects; what the teacher calls background, or the assigner does, mostly overlaps an object in
#: part. The probabilities of sigmoid heads are small by training: at most anchors of objects no
#: class is above one half, which is a doubt and no mistake, and no study has scaled them.
ROBUST_AT = {
    TWO_STAGE: dict(judge=Value('object', _STUDIES)),
    SINGLE_STAGE: dict(
        judge=Value('object', _STUDIES), calibrate=Value(False, 'ours, not studied')
    ),
    QUERIES: dict(
        judge=Value('object', 'ours, not studied; as at the anchors'),
        calibrate=Value(False, 'ours, not studied'),
    ),
    CLASSIFIER: {},
}


def loss_of(name: str, **options: Any) -> dict[str, Any]:
    """The config of a loss of :data:`VALUES`.

    Args:
        name (str): Its key.
        **options: What is added to it.

    Returns:
        dict: A new one in each call.
    """
    kind, values = VALUES[name]
    given = {argument: value.value for argument, value in values.items()}
    return dict(type=f'btkd_det.{kind}', **given, **options)


def btkd(host: str, **options: Any) -> dict[str, Any]:
    """BTKD around a loss of :data:`VALUES`, as published but for ``options``.

    Args:
        host (str): Its key.
        **options: Arguments of :class:`~btkd_det.losses.BTKDLoss`.

    Returns:
        dict: A new one in each call.
    """
    return dict(type='btkd_det.BTKDLoss', loss=loss_of(host), **options)


def robust(host: str, place: str = CLASSIFIER, **options: Any) -> dict[str, Any]:
    """BTKD around a loss of :data:`VALUES`, in the robust form.

    Args:
        host (str): Its key.
        place (str): A key of :data:`ROBUST_AT`.
        **options: Further arguments of :class:`~btkd_det.losses.BTKDLoss`.

    Returns:
        dict: A new one in each call.
    """
    values = {**ROBUST_VALUES, **ROBUST_AT[place]}
    given = {
        name: dict(value) if isinstance(value, dict) else value
        for name, (value, _) in values.items()
    }
    return btkd(host, **given, **options)


def _at_anchors(loss: dict[str, Any], **sites: Any) -> dict[str, Any]:
    """Of dense heads with sigmoids: divided as their own losses, or background drowns the rest."""
    return dict(dense_logits=dict(losses=loss, average='foreground'), **sites)


def _at_queries(
    sigmoid: dict[str, Any], softmax: dict[str, Any], **sites: Any
) -> dict[str, dict[str, Any]]:
    """Of DETR's relatives, by their plain classes: DETR alone has a softmax."""
    kinds = {'ConditionalDETR': sigmoid, 'DABDETR': sigmoid, 'DETR': softmax, QUERIES: sigmoid}
    return {name: dict(query_logits=loss, **sites) for name, loss in kinds.items()}


_ROBUST_AT_QUERIES = (robust('binary', QUERIES), robust('kd at rois', QUERIES))

#: What each preset puts where, by the distilled class, by a plain class that is inherited, or by
#: what a dense head has.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    'kd': {
        **_at_queries(loss_of('binary'), loss_of('kd at rois')),
        SOFTMAX: dict(dense_logits=loss_of('kd at rois')),
        TWO_STAGE: dict(roi_logits=loss_of('kd at rois')),
        SINGLE_STAGE: _at_anchors(loss_of('binary at anchors')),
        CLASSIFIER: dict(logits=loss_of('kd')),
    },
    'btkd': {
        **_at_queries(*_ROBUST_AT_QUERIES),
        SOFTMAX: dict(dense_logits=robust('kd at rois', SINGLE_STAGE)),
        TWO_STAGE: dict(roi_logits=robust('kd at rois', TWO_STAGE)),
        SINGLE_STAGE: _at_anchors(robust('binary at anchors', SINGLE_STAGE)),
        CLASSIFIER: dict(logits=robust('kd')),
    },
    'btkd-paper': {
        **_at_queries(btkd('binary'), btkd('kd at rois')),
        SOFTMAX: dict(dense_logits=btkd('kd at rois')),
        TWO_STAGE: dict(roi_logits=btkd('kd at rois')),
        SINGLE_STAGE: dict(dense_logits=btkd('binary')),
        CLASSIFIER: dict(logits=btkd('kd')),
    },
    'btkd-dkd': {
        TWO_STAGE: dict(roi_logits=robust('dkd at rois', TWO_STAGE)),
        CLASSIFIER: dict(logits=robust('dkd')),
    },
    'btkd-pkd': {
        **_at_queries(*_ROBUST_AT_QUERIES, fpn=loss_of('pkd')),
        SOFTMAX: dict(dense_logits=robust('kd at rois', SINGLE_STAGE), fpn=loss_of('pkd')),
        TWO_STAGE: dict(roi_logits=robust('kd at rois', TWO_STAGE), fpn=loss_of('pkd')),
        SINGLE_STAGE: _at_anchors(robust('binary at anchors', SINGLE_STAGE), fpn=loss_of('pkd')),
    },
    'ikd': {
        TWO_STAGE: dict(roi_logits=[loss_of('kd at rois'), loss_of('ikd at rois')]),
        CLASSIFIER: dict(logits=[loss_of('kd'), loss_of('ikd beside kd')]),
    },
    'feature': {
        TWO_STAGE: dict(fpn=loss_of('pkd')),
        SINGLE_STAGE: dict(fpn=loss_of('pkd')),
        ANY: dict(fpn=loss_of('pkd')),
        CLASSIFIER: dict(features=loss_of('reviewkd')),
    },
    **FEATURE_PRESETS,
}
