"""Distillation added to a plain config."""

import copy

from .config_file import read_config
from .errors import ConfigError
from .registry import suggest

_KD = dict(type='btkd_det.KDLoss', temperature=1.0)

# What each preset puts at which site of a two-stage detector.
PRESETS = {
    'kd': dict(roi_logits=_KD),
    'btkd': dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=_KD)),
}

# Plain model type -> the distilled class that takes its place.
DISTILLED = {
    'TwoStageDetector': 'btkd_det.DistilledTwoStageDetector',
    'FasterRCNN': 'btkd_det.DistilledTwoStageDetector',
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
        ConfigError: An unknown preset, a model without a distilled class, or one that is
            distilled already.
    """
    cfg = read_config(cfg, 'cfg') if isinstance(cfg, str) else copy.deepcopy(cfg)
    if preset not in PRESETS:
        raise ConfigError(
            f'preset: {preset!r} is not known{suggest(preset, PRESETS)}; valid: '
            f'{", ".join(PRESETS)}'
        )
    name = str(cfg.model.type)
    if name in DISTILLED.values():
        raise ConfigError(
            f'model.type: {name} is distilled already; valid is a plain config, or change its '
            'model.distill by hand'
        )
    plain = name.rpartition('.')[2]
    if plain not in DISTILLED:
        raise ConfigError(
            f'model.type: {name} has no distilled class; these have: {", ".join(DISTILLED)}'
        )
    cfg.model.update(
        type=DISTILLED[plain], teacher=dict(teacher), distill=copy.deepcopy(PRESETS[preset])
    )
    imports = cfg.setdefault('custom_imports', dict(imports=[]))
    if 'btkd_det' not in imports['imports']:
        imports['imports'] = [*imports['imports'], 'btkd_det']
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
