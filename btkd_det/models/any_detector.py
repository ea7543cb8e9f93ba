"""Distillation of any detector that has ``extract_feat``: its features, and its family's sites."""

import functools
from typing import Any

from mmdet.models.detectors import DetectionTransformer, SingleStageDetector, TwoStageDetector
from mmdet.models.detectors.single_stage_instance_seg import SingleStageInstanceSegmentor
from mmengine.registry import DefaultScope

from ..config.distilled_types import detector_class
from ..errors import ConfigError
from ..hints import Model
from ..registry import MODELS
from ..sites.backbone import BackboneRecorder
from ..sites.base import Recorder
from ..sites.dense import DenseRecorder
from ..sites.maps import MapRecorder
from ..sites.mask_heads import MaskRecorder
from ..sites.queries import QueryRecorder
from ..sites.rois import RoIRecorder
from .distilled import Distilled


@functools.cache
def distilled_class(host: type) -> type:
    """The distilled subclass of a detector's class.

    Args:
        host (type): Of a detector.

    Returns:
        type: Its subclass with the keys ``teacher`` and ``distill``, and the sites of
        :func:`recorders_of`.
    """
    namespace = dict(recorders=recorders_of(host))
    return type(f'Distilled{host.__name__}', (Distilled, host), namespace)


def recorders_of(host: type) -> tuple[type[Recorder], ...]:
    """What of a detector can be read, by what its class inherits.

    Args:
        host (type): Of a detector.

    Returns:
        tuple[type]: That of its family's head, if it is of one; then those of the maps.
    """
    heads = (
        (TwoStageDetector, RoIRecorder),
        (TwoStageDetector, MaskRecorder),
        (SingleStageDetector, DenseRecorder),
        (SingleStageInstanceSegmentor, DenseRecorder),
        (DetectionTransformer, QueryRecorder),
    )
    own = [recorder for family, recorder in heads if issubclass(host, family)]
    return (*own, MapRecorder, BackboneRecorder)


@MODELS.register_module(name='DistilledDetector')
def build_distilled_detector(host: str | None = None, **kwargs: Any) -> Model:
    """Build the distilled form of any detector, DETR's relatives included.

    In a config ``type='btkd_det.DistilledDetector', host='DINO'`` and then the keys of the host.
    What it builds is an instance of a subclass of the host's own class.

    Sites: ``fpn``, the maps that ``extract_feat`` gives; ``backbone``, those of the backbone; and
    those of the family that the host's class inherits: at the RoIs of a ``TwoStageDetector``, at
    the anchors of a ``SingleStageDetector`` or ``SingleStageInstanceSegmentor``, at the queries of
    a ``DetectionTransformer``.

    Args:
        host (str): The detector's type. It has to be given.
        **kwargs: The host's keys, ``teacher`` and ``distill``.

    Returns:
        BaseDetector: The distilled detector.

    Raises:
        ConfigError: ``host`` is missing or no detector; see also :class:`Distilled`.

    Examples:
        >>> import btkd_det
        >>> cfg = btkd_det.distill(
        ...     'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
        ...     teacher=dict(
        ...         config='mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py',
        ...         checkpoint='pretrained',
        ...     ),
        ... )
        >>> cfg.model.type, cfg.model.host, list(cfg.model.distill)
        ('btkd_det.DistilledDetector', 'DINO', ['query_logits'])
    """
    if host is None:
        raise ConfigError("host: missing; valid: the type of the plain detector, such as 'DINO'")
    scope = DefaultScope.get_current_instance()
    cls = detector_class(dict(type=host), scope and scope.scope_name)
    if cls is None:
        raise ConfigError(f"host: {host!r} is no registered detector; valid: such as 'DINO'")
    return distilled_class(cls)(**kwargs)
