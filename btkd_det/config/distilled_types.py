"""Which distilled class takes a plain model's place, and which plain one a distilled model's."""

from typing import Any

from ..errors import ConfigError
from .reading import type_name

TWO_STAGE = 'btkd_det.DistilledTwoStageDetector'
SINGLE_STAGE = 'btkd_det.DistilledSingleStageDetector'
ANY = 'btkd_det.DistilledDetector'
CLASSIFIER = 'btkd_det.DistilledImageClassifier'

#: Plain model type -> the distilled class that takes its place. Any other detector of
#: MMDetection becomes a DistilledDetector.
DISTILLED = {
    'TwoStageDetector': TWO_STAGE,
    'FasterRCNN': TWO_STAGE,
    'MaskRCNN': TWO_STAGE,
    'CascadeRCNN': TWO_STAGE,
    'SingleStageDetector': SINGLE_STAGE,
    'RetinaNet': SINGLE_STAGE,
    'FCOS': SINGLE_STAGE,
    'ATSS': SINGLE_STAGE,
    'GFL': SINGLE_STAGE,
    'RTMDet': SINGLE_STAGE,
    'ImageClassifier': CLASSIFIER,
}
#: Distilled class -> the plain class that it is, with its scope.
PLAIN = {
    TWO_STAGE: 'mmdet.TwoStageDetector',
    SINGLE_STAGE: 'mmdet.SingleStageDetector',
    CLASSIFIER: 'mmpretrain.ImageClassifier',
}


def distilled_type(model: dict[str, Any], field: str = 'model.type') -> str:
    """The distilled class that takes the place of a plain model.

    Args:
        model (dict): The plain model's config; its type is a name or a class.
        field (str): Where it stands, for the error message.

    Returns:
        str: With its scope, such as ``'btkd_det.DistilledTwoStageDetector'``.

    Raises:
        ConfigError: It is distilled already, or has no distilled class.
    """
    name = type_name(model)
    if str(model.get('type')).startswith('btkd_det.'):
        raise ConfigError(
            f'{field}: {name} is distilled already; valid is a plain config, or change its '
            'model.distill by hand'
        )
    if name in DISTILLED:
        return DISTILLED[name]
    from mmdet.models.detectors import BaseDetector
    from mmdet.registry import MODELS

    cls = MODELS.get(name)
    if cls is None or not issubclass(cls, BaseDetector):
        raise ConfigError(
            f'{field}: {name} has no distilled class; these have: {", ".join(DISTILLED)}, '
            'and, for their features, all other detectors of MMDetection'
        )
    return ANY


def plain_type(model: dict[str, Any]) -> str | None:
    """The plain class of a distilled model.

    Args:
        model (dict): Its config.

    Returns:
        str | None: With its scope; ``None`` where the model is not distilled, or by a class of
        somebody else's.
    """
    name = type_name(model)
    distilled = f'btkd_det.{name}'
    host = PLAIN.get(distilled) or (model.get('host') if name.endswith('DistilledDetector') else '')
    if not host or not str(model.get('type')).startswith(('btkd_det.', '<class')):
        return None
    # RTMDet's own key; the plain class that all others have does not know it.
    return 'mmdet.RTMDet' if 'use_syncbn' in model else host
