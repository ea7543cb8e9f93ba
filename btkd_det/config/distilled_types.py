"""Which distilled class takes a plain model's place, and which plain one a distilled model's."""

from typing import Any

from mmengine.registry import MODELS

from ..errors import ConfigError
from .named_types import class_of, type_package
from .new_style import node_with_names
from .reading import type_name

TWO_STAGE = 'btkd_det.DistilledTwoStageDetector'
SINGLE_STAGE = 'btkd_det.DistilledSingleStageDetector'
#: The key of a preset for single-stage detectors whose head has no sigmoids.
SOFTMAX = 'softmax'
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

#: The packages whose classes these are: one of the same name elsewhere is another class.
HOSTS = ('mmdet', 'mmpretrain')

#: Further families whose presets are those of a distilled class.
AS = {'SingleStageInstanceSegmentor': SINGLE_STAGE}

#: Distilled class -> the plain class that it is, with its scope.
PLAIN = {
    TWO_STAGE: 'mmdet.TwoStageDetector',
    SINGLE_STAGE: 'mmdet.SingleStageDetector',
    CLASSIFIER: 'mmpretrain.ImageClassifier',
}


def distilled_type(
    model: dict[str, Any], field: str = 'model.type', scope: str | None = None
) -> str:
    """The distilled class that takes the place of a plain model.

    Args:
        model (dict): The plain model's config; its type is a name or a class.
        field (str): Where it stands, for the error message.
        scope (str | None): The config's default scope.

    Returns:
        str: With its scope, such as ``'btkd_det.DistilledTwoStageDetector'``. Of a class of
        somebody else's, whatever its name, what is distilled inherits that class.

    Raises:
        ConfigError: It is distilled already, or has no distilled class.
    """
    name = type_name(model)
    if type_package(model) == 'btkd_det':
        raise ConfigError(
            f'{field}: {name} is distilled already; valid is a plain config, or change its '
            'model.distill by hand'
        )
    known = _known(model, scope)
    if known is not None:
        return known
    if CLASSIFIER in map(DISTILLED.get, [name, *_names_of(model, scope)]):
        raise ConfigError(
            f"{field}: {host_name(model, scope)} is no class of MMPretrain's, and {CLASSIFIER} "
            'would leave out what it adds; valid: mmpretrain.ImageClassifier, or a distilled '
            'config by hand, of a class that inherits '
            'btkd_det.models.classifier.DistilledImageClassifier and this one'
        )
    if detector_class(model, scope) is None:
        raise ConfigError(
            f'{field}: {name} has no distilled class; these have: {", ".join(DISTILLED)}, and '
            'all other detectors of MMDetection, or of a package that registers one'
        )
    if isinstance(node_with_names(dict(type=model['type']))['type'], type):
        raise ConfigError(f'{field}: {name} has no name to be found by; valid: a registered class')
    return ANY


def detector_class(model: dict[str, Any], scope: str | None = None) -> type | None:
    """The registered class of a plain detector, of MMDetection or of another package.

    Args:
        model (dict): The model's config; its type is a name, with or without a scope, or a class.
        scope (str | None): The config's default scope.

    Returns:
        type | None: ``None`` where nothing of this name is registered, or no detector.
    """
    from mmdet.models.detectors import BaseDetector

    cls = _class_of(model, scope)
    return cls if isinstance(cls, type) and issubclass(cls, BaseDetector) else None


def host_name(model: dict[str, Any], scope: str | None = None) -> str:
    """How ``DistilledDetector`` finds the plain class: with its scope.

    Args:
        model (dict): The model's config.
        scope (str | None): The config's default scope.

    Returns:
        str: Such as ``'mmdet.DINO'``. Without any scope the package of the hosts is meant, unless
        the default scope has a class of this name.
    """
    kind = node_with_names(dict(type=model.get('type')))['type']
    name = kind if isinstance(kind, str) else type_name(model)
    if '.' in name:
        return name
    if model.get('_scope_'):
        return f'{model["_scope_"]}.{name}'
    if scope and class_of(dict(type=f'{scope}.{name}'), MODELS) is not None:
        return f'{scope}.{name}'
    return f'{"mmpretrain" if DISTILLED.get(name) == CLASSIFIER else "mmdet"}.{name}'


def preset_keys(model: dict[str, Any], scope: str | None = None) -> list[str]:
    """Under which keys a preset may have its sites for a plain model, the closest first.

    Args:
        model (dict): The model's config.
        scope (str | None): The config's default scope.

    Returns:
        list[str]: What its dense head's class is called in MMDetection, with what it inherits;
        for each class of the hosts' that the model's inherits its name, and the distilled class
        of its family where it has one, :data:`SOFTMAX` before that of a single-stage detector with
        such a head; for a detector at last :data:`ANY`.
    """
    names = _names_of(model, scope)
    if _known(model, scope) == CLASSIFIER:
        return [*names[:1], CLASSIFIER]
    head = model.get('bbox_head') or {}
    heads = _names_of(head, model.get('_scope_') or scope) if type_name(head) else []
    family = {**DISTILLED, **AS}
    keys = [key for known in names for key in (known, family.get(known)) if key]
    if SINGLE_STAGE in keys and _has_softmax(head, heads):
        keys.insert(keys.index(SINGLE_STAGE), SOFTMAX)
    return list(dict.fromkeys([*heads, *keys, ANY]))


def _has_softmax(head: dict[str, Any], names: list[str]) -> bool:
    """Whether the classes of a dense head are one distribution: SSD's always, others' by a loss.

    MMDetection's heads take a ``loss_cls`` for one of a softmax unless it says ``use_sigmoid``.
    """
    loss = head.get('loss_cls')
    return 'SSDHead' in names or (isinstance(loss, dict) and not loss.get('use_sigmoid', False))


def plain_type(model: dict[str, Any]) -> str | None:
    """The plain class of a distilled model.

    Args:
        model (dict): Its config.

    Returns:
        str | None: With its scope; ``None`` where the model is not distilled, or by a class of
        somebody else's.
    """
    if type_package(model) != 'btkd_det':
        return None
    distilled = f'btkd_det.{type_name(model)}'
    # RTMDet's own key; the plain class that all others have does not know it.
    if distilled == SINGLE_STAGE and 'use_syncbn' in model:
        return 'mmdet.RTMDet'
    return PLAIN.get(distilled) or (model.get('host') if distilled == ANY else None)


def _known(model: dict[str, Any], scope: str | None) -> str | None:
    """The distilled class of the hosts' own class that a model's is, None if it is none of them."""
    cls = _class_of(model, scope)
    if cls is not None and not _is_of_hosts(cls):
        return None
    return next((DISTILLED.get(name) for name in _names_of(model, scope)[:1]), None)


def _class_of(part: dict[str, Any], scope: str | None) -> Any:
    """What the type of a plain model or of its head names, or None."""
    if isinstance(part.get('type'), type):
        return part['type']
    named = class_of(dict(type=host_name(part, scope)), MODELS)
    return class_of(part, MODELS) if named is None else named


def _names_of(part: dict[str, Any], scope: str | None) -> list[str]:
    """What the class of a part and the classes that it inherits are called by :data:`HOSTS`.

    A class that is not found has the name that is written, where no other scope is.
    """
    cls = _class_of(part, scope)
    if cls is None:
        return [type_name(part)] if type_package(part) in ('', *HOSTS) else []
    return [kind.__name__ for kind in getattr(cls, '__mro__', ()) if _is_of_hosts(kind)]


def _is_of_hosts(cls: Any) -> bool:
    return str(getattr(cls, '__module__', '')).partition('.')[0] in HOSTS
