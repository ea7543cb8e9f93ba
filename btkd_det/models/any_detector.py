"""Distillation of the features of any detector that has ``extract_feat``."""

import functools
from typing import Any

from mmdet.models.detectors import BaseDetector
from mmengine.registry import MODELS as MMENGINE_MODELS

from ..errors import ConfigError
from ..registry import MODELS
from ..sites.backbone import BackboneRecorder
from ..sites.maps import MapRecorder
from .distilled import Distilled


@functools.cache
def distilled_class(host: type) -> type:
    """The distilled subclass of a detector's class.

    Args:
        host (type): Of a detector.

    Returns:
        type: Its subclass with the keys ``teacher`` and ``distill``, and the sites ``fpn`` and
        ``backbone``.
    """
    recorders = (MapRecorder, BackboneRecorder)
    return type(f'Distilled{host.__name__}', (Distilled, host), dict(recorders=recorders))


@MODELS.register_module(name='DistilledDetector')
def build_distilled_detector(host: str | None = None, **kwargs: Any) -> BaseDetector:
    """Build the distilled form of any detector, DETR's relatives included.

    In a config ``type='btkd_det.DistilledDetector', host='DINO'`` and then the keys of the host.
    What it builds is an instance of a subclass of the host's own class.

    Sites: ``fpn``, the maps that ``extract_feat`` gives; ``backbone``, those of the backbone.

    Args:
        host (str): The detector's type. It has to be given.
        **kwargs: The host's keys, ``teacher`` and ``distill``.

    Returns:
        BaseDetector: The distilled detector.

    Raises:
        ConfigError: ``host`` is missing or no detector; see also :class:`Distilled`.
    """
    if host is None:
        raise ConfigError("host: missing; valid: the type of the plain detector, such as 'DINO'")
    with MMENGINE_MODELS.switch_scope_and_registry(None) as registry:
        cls = registry.get(host if '.' in str(host) else f'mmdet.{host}')
    if cls is None or not issubclass(cls, BaseDetector):
        raise ConfigError(f"host: {host!r} is no registered detector; valid: such as 'DINO'")
    return distilled_class(cls)(**kwargs)
