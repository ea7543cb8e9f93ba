"""Distillation added to a plain config."""

import contextlib
import copy
from pathlib import Path, PurePath

from mmengine.config import Config

from .config_file import read_config, type_name
from .errors import ConfigError
from .families import (
    ANY,
    CLASSIFIER,
    DISTILLED,
    QUERIES,
    SINGLE_STAGE,
    TWO_STAGE,
    detector_class,
    host_name,
    preset_keys,
)
from .feature_presets import FEATURE_PRESETS
from .new_style import with_names
from .registry import suggest

_KD = dict(type='btkd_det.KDLoss', temperature=1.0)
_BINARY = dict(type='btkd_det.BinaryKDLoss')
_PKD = dict(type='btkd_det.PKDLoss', loss_weight=6.0)

# As the papers have them on CIFAR-100; the weight of the cross entropy is the recipe's.
_CLS_KD = dict(type='btkd_det.KDLoss', temperature=4.0)
_CLS_DKD = dict(type='btkd_det.DKDLoss', alpha=1.0, beta=8.0, temperature=4.0, warmup=20 / 240)
_CLS_IKD = dict(type='btkd_det.IKDLoss', num_classes=None, temperature=1.0, loss_weight=6.5)

# What the studies chose (docs/results.md): a wrong label is weighed against the teacher, the
# teacher's doubts are scaled to what it gets wrong, and a teacher that is not ahead fades.
ROBUST = dict(
    rectify=dict(type='posterior', label_noise='estimated'),
    schedule='none',
    trust='relative',
    calibrate=True,
)
# At RoIs a class is put right where teacher and label name two objects; what the teacher calls
# background, or the assigner does, mostly overlaps an object in part.
_ROBUST_TWO_STAGE = dict(ROBUST, judge='object')
# The probabilities of sigmoid heads are small by training, and no study has scaled them.
_ROBUST_SINGLE_STAGE = dict(ROBUST, calibrate=False)


def _btkd(host, **options):
    return dict(type='btkd_det.BTKDLoss', loss=host, **options)


_RCNN_DKD = dict(type='btkd_det.DKDLoss', alpha=1.0, beta=0.25, temperature=1.0)


def _at_queries(sigmoid, softmax, **sites):
    """Of DETR's relatives, by their plain classes: DETR alone has a softmax."""
    kinds = {'ConditionalDETR': sigmoid, 'DABDETR': sigmoid, 'DETR': softmax, QUERIES: sigmoid}
    return {name: dict(query_logits=loss, **sites) for name, loss in kinds.items()}


# What each preset puts where, by the distilled class, by a plain class that is inherited, or by a
# dense head: SSD's alone has a softmax.
PRESETS = {
    'kd': {
        **_at_queries(_BINARY, _KD),
        'SSDHead': dict(dense_logits=_KD),
        TWO_STAGE: dict(roi_logits=_KD),
        SINGLE_STAGE: dict(dense_logits=_BINARY),
        CLASSIFIER: dict(logits=_CLS_KD),
    },
    'btkd': {
        **_at_queries(
            _btkd(_BINARY, **_ROBUST_SINGLE_STAGE), _btkd(_KD, **dict(ROBUST, calibrate=False))
        ),
        'SSDHead': dict(dense_logits=_btkd(_KD, **_ROBUST_SINGLE_STAGE)),
        TWO_STAGE: dict(roi_logits=_btkd(_KD, **_ROBUST_TWO_STAGE)),
        SINGLE_STAGE: dict(dense_logits=_btkd(_BINARY, **_ROBUST_SINGLE_STAGE)),
        CLASSIFIER: dict(logits=_btkd(_CLS_KD, **ROBUST)),
    },
    'btkd-paper': {
        **_at_queries(_btkd(_BINARY), _btkd(_KD)),
        'SSDHead': dict(dense_logits=_btkd(_KD)),
        TWO_STAGE: dict(roi_logits=_btkd(_KD)),
        SINGLE_STAGE: dict(dense_logits=_btkd(_BINARY)),
        CLASSIFIER: dict(logits=_btkd(_CLS_KD)),
    },
    'btkd-dkd': {
        TWO_STAGE: dict(roi_logits=_btkd(_RCNN_DKD, **_ROBUST_TWO_STAGE)),
        CLASSIFIER: dict(logits=_btkd(_CLS_DKD, **ROBUST)),
    },
    'btkd-pkd': {
        **_at_queries(
            _btkd(_BINARY, **_ROBUST_SINGLE_STAGE),
            _btkd(_KD, **dict(ROBUST, calibrate=False)),
            fpn=_PKD,
        ),
        'SSDHead': dict(dense_logits=_btkd(_KD, **_ROBUST_SINGLE_STAGE), fpn=_PKD),
        TWO_STAGE: dict(roi_logits=_btkd(_KD, **_ROBUST_TWO_STAGE), fpn=_PKD),
        SINGLE_STAGE: dict(dense_logits=_btkd(_BINARY, **_ROBUST_SINGLE_STAGE), fpn=_PKD),
    },
    'ikd': {
        TWO_STAGE: dict(
            roi_logits=[_KD, dict(type='btkd_det.IKDLoss', num_classes=None, loss_weight=1.0)]
        ),
        CLASSIFIER: dict(logits=[_CLS_KD, _CLS_IKD]),
    },
    'feature': {
        TWO_STAGE: dict(fpn=_PKD),
        SINGLE_STAGE: dict(fpn=_PKD),
        ANY: dict(fpn=_PKD),
        CLASSIFIER: dict(features=dict(type='btkd_det.ReviewKDLoss')),
    },
    **FEATURE_PRESETS,
}


def distill(cfg, teacher, preset='btkd'):
    """Add a teacher and distillation losses to a plain config.

    Args:
        cfg (Config | dict | str | Path): A config without distillation, or where to read one.
        teacher (dict): ``dict(config=..., checkpoint=...)``, see
            :class:`btkd_det.models.Teacher`. Where its checkpoint knows the data's classes in
            another order or among others, a ``class_map`` by their names is added.
        preset (str): A name of :data:`PRESETS`.

    Returns:
        Config: A copy whose model is the distilled class of the plain one.

    Raises:
        ConfigError: An unknown preset or one that this detector has no sites for, a model
            without a distilled class, or one that is distilled already; ``cfg`` or ``teacher``
            is something else.
    """
    cfg = _plain_config(cfg)
    if not isinstance(teacher, dict):
        raise ConfigError(
            f"teacher: got {teacher!r}; valid: dict(config='CONFIG', checkpoint='FILE'), with "
            "'pretrained' for the model zoo's weights"
        )
    if preset not in PRESETS:
        raise ConfigError(
            f'preset: {preset!r} is not known{suggest(preset, PRESETS)}; valid: '
            f'{", ".join(PRESETS)}'
        )
    host = type_name(cfg.model)
    distilled = distilled_type(cfg.model)
    keys = preset_keys(cfg.model)
    found = next((key for key in keys if key in PRESETS[preset]), None)
    if found is None:
        able = [name for name, sites in PRESETS.items() if any(key in sites for key in keys)]
        raise ConfigError(
            f'preset: {preset!r} has no site in {host}; valid for it: {", ".join(able)}'
        )
    # A path is text in a config that is written.
    teacher = {k: str(v) if isinstance(v, PurePath) else v for k, v in teacher.items()}
    make_distilled(cfg, distilled, teacher, copy.deepcopy(PRESETS[preset][found]))
    _fill_class_count(cfg)
    _map_classes(cfg)
    return cfg


def _map_classes(cfg):
    """Map the teacher's classes by name where data and checkpoint are at hand, nowhere else."""
    from .preflight import map_classes

    if Path(str(cfg.model.teacher.get('checkpoint'))).is_file():
        # Without its folders a data set may not tell its classes; training asks again.
        with contextlib.suppress(OSError):
            map_classes(cfg)


def _plain_config(cfg):
    """A copy of the config, or the one that the file holds."""
    if isinstance(cfg, (str, Path)):
        cfg = read_config(cfg, 'cfg')
    elif isinstance(cfg, dict):
        cfg = Config(copy.deepcopy(cfg))
    elif isinstance(cfg, Config):
        cfg = copy.deepcopy(cfg)
    else:
        raise ConfigError(f'cfg: got {type(cfg).__name__}; valid: a Config, a dict, or a file')
    cfg = with_names(cfg)
    if not isinstance(cfg.get('model'), dict) or not cfg.model.get('type'):
        raise ConfigError('cfg.model: missing, or without a type; valid: a whole config of a model')
    return cfg


def make_distilled(cfg, distilled, teacher, sites):
    """Turn the plain model of a config into a distilled one, in place.

    Args:
        cfg (Config): Its model is plain.
        distilled (str): What :func:`distilled_type` says of the model.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        sites (dict): Site name to losses.
    """
    host = type_name(cfg.model)
    full = host_name(cfg.model).removeprefix('mmdet.')
    cfg.model.update(type=distilled, teacher=teacher, distill=sites)
    if distilled == ANY:
        cfg.model.host = full
    if host == 'RTMDet':
        cfg.model.setdefault('use_syncbn', True)
    given = dict(cfg.get('custom_imports') or {})
    # MMEngine takes a single name as text, too.
    names = given.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'btkd_det' not in names:
        cfg.custom_imports = dict(given, imports=[*names, 'btkd_det'])


def without_distillation(cfg):
    """The same config with neither teacher nor distillation: for evaluating the student.

    Args:
        cfg (Config): Any config; one without distillation comes back unchanged.

    Returns:
        Config: A copy.
    """
    cfg = copy.deepcopy(cfg)
    # Other models may have a teacher, too: MMRazor's do.
    if 'distill' in cfg.model or type_name(cfg.model).startswith('Distilled'):
        for key in ('distill', 'teacher'):
            if key in cfg.model:
                cfg.model[key] = None
    return cfg


def teacher_from_options(config, checkpoint, options=None):
    """``--teacher-config`` and ``--teacher-checkpoint`` as the config's ``teacher``.

    Args:
        config (str | None): The teacher's config.
        checkpoint (str | None): Its weights.
        options (dict, optional): What ``--cfg-options`` says below ``model.teacher``; it wins.

    Returns:
        dict: ``dict(config=..., checkpoint=...)``, and what the options add.

    Raises:
        ConfigError: One of the two is missing, or an option finds no place.
    """
    options = dict(options or {})
    config = options.pop('config', config)
    checkpoint = options.pop('checkpoint', checkpoint)
    for option, value in (('--teacher-config', config), ('--teacher-checkpoint', checkpoint)):
        if not value:
            raise ConfigError(
                f'{option}: missing; adding distillation needs both --teacher-config and '
                "--teacher-checkpoint (a path, or 'pretrained')"
            )
    teacher = dict(config=config, checkpoint=checkpoint)
    if not options:
        return teacher
    from .preflight.options import with_options

    return with_options(teacher, options, 'model.teacher')


def distilled_type(model, field='model.type'):
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


def _fill_class_count(cfg):
    """Tell IKD how many classes the head tells apart, a box head's background included."""
    for losses in cfg.model.distill.values():
        for loss in losses if isinstance(losses, list) else [losses]:
            if loss.get('type') == 'btkd_det.IKDLoss' and loss.get('num_classes') is None:
                count = count_classes(cfg)
                if count is None:
                    raise ConfigError(
                        "preset: 'ikd' needs the number of classes, and neither the config of the "
                        "model's head or backbone nor the data set tells it; valid: num_classes "
                        'there, or metainfo=dict(classes=...) in train_dataloader.dataset'
                    )
                loss['num_classes'] = count + ('roi_head' in cfg.model)


def count_classes(cfg):
    """How many classes a model tells apart, as its config or its data say.

    Args:
        cfg (Config): The whole config.

    Returns:
        int | None: Without background; ``None`` where nothing tells.
    """
    model = cfg.model
    head = model.get('head') or model.get('bbox_head') or {}
    if 'roi_head' in model:
        head = model.roi_head.get('bbox_head') or {}
    head = head[0] if isinstance(head, (list, tuple)) and head else head
    # MMPretrain's VGG and LeNet classify in the backbone, below a head that only has a loss.
    for part in (head, model.get('backbone') or {}):
        count = part.get('num_classes') if isinstance(part, dict) else None
        if isinstance(count, int) and count > 0:
            return count
    from .preflight import classes_of_data

    classes = classes_of_data(cfg)
    return None if classes is None else len(classes)


def added_text(cfg):
    """What :func:`distill` added to a config, as lines that can stand in a config.

    Args:
        cfg (Config): The distilled config.

    Returns:
        str: To follow the plain config's ``_base_``.
    """
    names = ('type', 'host', 'teacher', 'distill')
    added = {name: cfg.model[name] for name in names if name in cfg.model}
    return Config(dict(custom_imports=cfg.custom_imports, model=added)).pretty_text
