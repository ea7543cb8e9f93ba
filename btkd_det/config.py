"""Distillation added to a plain config."""

import copy

from .config_file import read_config
from .errors import ConfigError
from .registry import suggest

_KD = dict(type='btkd_det.KDLoss', temperature=1.0)
_BINARY = dict(type='btkd_det.BinaryKDLoss')
_PKD = dict(type='btkd_det.PKDLoss', loss_weight=6.0)
_TWO_STAGE = 'btkd_det.DistilledTwoStageDetector'
_SINGLE_STAGE = 'btkd_det.DistilledSingleStageDetector'
_ANY = 'btkd_det.DistilledDetector'
_CLASSIFIER = 'btkd_det.DistilledImageClassifier'

# As the papers have them on CIFAR-100; the weight of the cross entropy is the recipe's.
_CLS_KD = dict(type='btkd_det.KDLoss', temperature=4.0)
_CLS_DKD = dict(type='btkd_det.DKDLoss', alpha=1.0, beta=8.0, temperature=4.0, warmup=20 / 240)
_CLS_IKD = dict(type='btkd_det.IKDLoss', num_classes=None, temperature=1.0, loss_weight=6.5)

# What each preset puts where, by the distilled class.
PRESETS = {
    'kd': {
        _TWO_STAGE: dict(roi_logits=_KD),
        _SINGLE_STAGE: dict(dense_logits=_BINARY),
        _CLASSIFIER: dict(logits=_CLS_KD),
    },
    'btkd': {
        _TWO_STAGE: dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=_KD)),
        _SINGLE_STAGE: dict(dense_logits=dict(type='btkd_det.BTKDLoss', loss=_BINARY)),
        _CLASSIFIER: dict(logits=dict(type='btkd_det.BTKDLoss', loss=_CLS_KD)),
    },
    'btkd-dkd': {
        _TWO_STAGE: dict(
            roi_logits=dict(
                type='btkd_det.BTKDLoss',
                loss=dict(type='btkd_det.DKDLoss', alpha=1.0, beta=0.25, temperature=1.0),
            )
        ),
        _CLASSIFIER: dict(logits=dict(type='btkd_det.BTKDLoss', loss=_CLS_DKD)),
    },
    'btkd-pkd': {
        _TWO_STAGE: dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=_KD), fpn=_PKD),
        _SINGLE_STAGE: dict(dense_logits=dict(type='btkd_det.BTKDLoss', loss=_BINARY), fpn=_PKD),
    },
    'ikd': {
        _TWO_STAGE: dict(
            roi_logits=[_KD, dict(type='btkd_det.IKDLoss', num_classes=None, loss_weight=1.0)]
        ),
        _CLASSIFIER: dict(logits=[_CLS_KD, _CLS_IKD]),
    },
    'feature': {
        _TWO_STAGE: dict(fpn=_PKD),
        _SINGLE_STAGE: dict(fpn=_PKD),
        _ANY: dict(fpn=_PKD),
        _CLASSIFIER: dict(features=dict(type='btkd_det.ReviewKDLoss')),
    },
}

# Plain model type -> the distilled class that takes its place. Any other detector of
# MMDetection becomes a DistilledDetector.
DISTILLED = {
    'TwoStageDetector': _TWO_STAGE,
    'FasterRCNN': _TWO_STAGE,
    'MaskRCNN': _TWO_STAGE,
    'CascadeRCNN': _TWO_STAGE,
    'SingleStageDetector': _SINGLE_STAGE,
    'RetinaNet': _SINGLE_STAGE,
    'FCOS': _SINGLE_STAGE,
    'ATSS': _SINGLE_STAGE,
    'GFL': _SINGLE_STAGE,
    'RTMDet': _SINGLE_STAGE,
    'ImageClassifier': _CLASSIFIER,
}


def distill(cfg, teacher, preset='btkd'):
    """Add a teacher and distillation losses to a plain config.

    Args:
        cfg (Config | str): A config without distillation, or where to read one.
        teacher (dict): ``dict(config=..., checkpoint=...)``, see
            :class:`btkd_det.models.Teacher`.
        preset (str): A name of :data:`PRESETS`.

    Returns:
        Config: A copy whose model is the distilled class of the plain one.

    Raises:
        ConfigError: An unknown preset or one that this detector has no sites for, a model
            without a distilled class, or one that is distilled already.
    """
    cfg = read_config(cfg, 'cfg') if isinstance(cfg, str) else copy.deepcopy(cfg)
    if preset not in PRESETS:
        raise ConfigError(
            f'preset: {preset!r} is not known{suggest(preset, PRESETS)}; valid: '
            f'{", ".join(PRESETS)}'
        )
    host = str(cfg.model.type).rpartition('.')[2]
    distilled = distilled_type(str(cfg.model.type))
    if distilled not in PRESETS[preset]:
        able = [name for name, sites in PRESETS.items() if distilled in sites]
        raise ConfigError(
            f'preset: {preset!r} has no site in {host}; valid for it: {", ".join(able)}'
        )
    cfg.model.update(
        type=distilled,
        teacher=dict(teacher),
        distill=copy.deepcopy(PRESETS[preset][distilled]),
    )
    if distilled == _ANY:
        cfg.model.host = host
    if host == 'RTMDet':
        cfg.model.setdefault('use_syncbn', True)
    _fill_class_count(cfg.model)
    imports = dict(cfg.get('custom_imports') or dict(imports=[]))
    if 'btkd_det' not in imports['imports']:
        cfg.custom_imports = dict(imports, imports=[*imports['imports'], 'btkd_det'])
    return cfg


def without_distillation(cfg):
    """The same config with neither teacher nor distillation: for evaluating the student.

    Args:
        cfg (Config): Any config; one without distillation comes back unchanged.

    Returns:
        Config: A copy.
    """
    cfg = copy.deepcopy(cfg)
    if 'distill' in cfg.model:
        cfg.model.distill = None
        cfg.model.teacher = None
    return cfg


def teacher_from_options(config, checkpoint):
    """``--teacher-config`` and ``--teacher-checkpoint`` as the config's ``teacher``.

    Args:
        config (str | None): The teacher's config.
        checkpoint (str | None): Its weights.

    Returns:
        dict: ``dict(config=..., checkpoint=...)``.

    Raises:
        ConfigError: One of the two is missing.
    """
    for option, value in (('--teacher-config', config), ('--teacher-checkpoint', checkpoint)):
        if not value:
            raise ConfigError(
                f'{option}: missing; adding distillation needs both --teacher-config and '
                "--teacher-checkpoint (a path, or 'pretrained')"
            )
    return dict(config=config, checkpoint=checkpoint)


def distilled_type(name, field='model.type'):
    """The distilled class that takes the place of a plain model.

    Args:
        name (str): The plain model's type.
        field (str): Where it stands, for the error message.

    Returns:
        str: With its scope, such as ``'btkd_det.DistilledTwoStageDetector'``.

    Raises:
        ConfigError: It is distilled already, or has no distilled class.
    """
    if name.startswith('btkd_det.'):
        raise ConfigError(
            f'{field}: {name} is distilled already; valid is a plain config, or change its '
            'model.distill by hand'
        )
    plain = name.rpartition('.')[2]
    if plain in DISTILLED:
        return DISTILLED[plain]
    from mmdet.models.detectors import BaseDetector
    from mmdet.registry import MODELS

    cls = MODELS.get(plain)
    if cls is None or not issubclass(cls, BaseDetector):
        raise ConfigError(
            f'{field}: {name} has no distilled class; these have: {", ".join(DISTILLED)}, '
            'and, for their features, all other detectors of MMDetection'
        )
    return _ANY


def _fill_class_count(model):
    """Tell IKD how many classes the head tells apart, a box head's background included."""
    for losses in model.distill.values():
        for loss in losses if isinstance(losses, list) else [losses]:
            if loss.get('type') == 'btkd_det.IKDLoss' and loss.get('num_classes') is None:
                loss['num_classes'] = _class_count(model)


def _class_count(model):
    if 'roi_head' not in model:
        return model.head.get('num_classes')
    head = model.roi_head.bbox_head
    head = head[0] if isinstance(head, (list, tuple)) else head
    return head.num_classes + 1
