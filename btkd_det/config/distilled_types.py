"""Which distilled class takes a plain model's place, and which plain one a distilled model's."""

from typing import Any

from ..errors import ConfigError
from .reading import type_name

TWO_STAGE = 'btkd_det.DistilledTwoStageDetector'
SINGLE_STAGE = 'btkd_det.DistilledSingleStageDetector'
ANY = 'btkd_det.DistilledDetector'
CLASSIFIER = 'btkd_det.DistilledImageClassifier'
#: DETR's relatives, as MMDetection calls their common base.
QUERIES = 'DetectionTransformer'

#: Plain classes that the distilled class of their family takes the place of, since they add
#: nothing to its host but a name. Any other detector becomes a DistilledDetector.
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

#: Further families whose presets are those of a distilled class.
AS = {'SingleStageInstanceSegmentor': SINGLE_STAGE}

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
    if detector_class(model) is None:
        raise ConfigError(
            f'{field}: {name} has no distilled class; these have: {", ".join(DISTILLED)}, and '
            'all other detectors of MMDetection, or of a package that registers one'
        )
    return ANY


def detector_class(model: dict[str, Any]) -> type | None:
    """The registered class of a plain detector, of MMDetection or of another package.

    Args:
        model (dict): The model's config; its type is a name, with or without a scope, or a class.

    Returns:
        type | None: ``None`` where nothing of this name is registered, or no detector.
    """
    from mmdet.models.detectors import BaseDetector
    from mmengine.registry import MODELS

    kind = model.get('type')
    cls = kind
    if not isinstance(kind, type):
        with MODELS.switch_scope_and_registry(None) as registry:
            cls = registry.get(host_name(model)) or registry.get(str(kind))
    return cls if isinstance(cls, type) and issubclass(cls, BaseDetector) else None


def host_name(model: dict[str, Any]) -> str:
    """How ``DistilledDetector`` finds the plain class: with its scope, which is ``mmdet`` if none.

    Args:
        model (dict): The model's config.

    Returns:
        str: Such as ``'mmdet.DINO'``.
    """
    kind = model.get('type')
    scope = '' if isinstance(kind, type) else str(kind).rpartition('.')[0]
    return f'{scope or model.get("_scope_") or "mmdet"}.{type_name(model)}'


def preset_keys(model: dict[str, Any]) -> list[str]:
    """Under which keys a preset may have its sites for a plain model, the closest first.

    Args:
        model (dict): The model's config.

    Returns:
        list[str]: The type of its dense head; for each class that the model's inherits its name,
        and the distilled class of its family where it has one; for a detector at last
        :data:`ANY`.
    """
    name = type_name(model)
    head = type_name(model.get('bbox_head') or {})
    if DISTILLED.get(name) == CLASSIFIER:
        return [name, CLASSIFIER]
    cls = detector_class(model)
    names = [name] if cls is None else [ancestor.__name__ for ancestor in cls.__mro__]
    family = {**DISTILLED, **AS}
    keys = [key for known in names for key in (known, family.get(known)) if key]
    return list(dict.fromkeys([*([head] if head else []), *keys, ANY]))


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
