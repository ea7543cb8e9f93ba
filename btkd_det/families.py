"""Which family a plain model belongs to, by what its class inherits."""

from collections.abc import Mapping
from typing import Any

from .config_file import type_name

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


def detector_class(model: Mapping[str, Any]) -> type | None:
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


def host_name(model: Mapping[str, Any]) -> str:
    """How ``DistilledDetector`` finds the plain class: with its scope, which is ``mmdet`` if none.

    Args:
        model (dict): The model's config.

    Returns:
        str: Such as ``'mmdet.DINO'``.
    """
    kind = model.get('type')
    scope = '' if isinstance(kind, type) else str(kind).rpartition('.')[0]
    return f'{scope or model.get("_scope_") or "mmdet"}.{type_name(model)}'


def preset_keys(model: Mapping[str, Any]) -> list[str]:
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
    keys = [key for known in names for key in (known, DISTILLED.get(known)) if key]
    return list(dict.fromkeys([*([head] if head else []), *keys, ANY]))
