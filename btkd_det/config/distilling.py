"""Distillation added to a plain config."""

import contextlib
import copy
from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config

from ..checks import check_choice
from ..errors import ConfigError
from .distilled_types import ANY, SINGLE_STAGE, distilled_type, host_name, preset_keys
from .new_style import with_names
from .options import with_options
from .presets import PRESETS
from .reading import head_of, read_config, type_name

#: What :func:`make_distilled` may set in a model.
ADDED = ('type', 'host', 'teacher', 'distill', 'use_syncbn')


def distill(
    cfg: Config | dict[str, Any] | str | Path, teacher: dict[str, Any], preset: str = 'btkd'
) -> Config:
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
            f"teacher: {teacher!r}; valid: dict(config='CONFIG', checkpoint='FILE'), with "
            "'pretrained' for the model zoo's weights"
        )
    check_choice('preset', preset, PRESETS)
    host, scope = type_name(cfg.model), cfg.get('default_scope')
    distilled = distilled_type(cfg.model, scope=scope)
    keys = preset_keys(cfg.model, scope)
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


def _map_classes(cfg: Config) -> None:
    """Map the teacher's classes by name where data and checkpoint are at hand, nowhere else."""
    from ..preflight import map_classes

    if Path(str(cfg.model.teacher.get('checkpoint'))).is_file():
        # Without its folders a data set may not tell its classes; training asks again.
        with contextlib.suppress(OSError):
            map_classes(cfg)


def _plain_config(cfg: Config) -> Config:
    """A copy of the config, or the one that the file holds."""
    if isinstance(cfg, (str, Path)):
        cfg = read_config(cfg, 'cfg')
    elif isinstance(cfg, dict):
        cfg = Config(copy.deepcopy(cfg))
    elif isinstance(cfg, Config):
        cfg = copy.deepcopy(cfg)
    else:
        raise ConfigError(f'cfg: {type(cfg).__name__}; valid: a Config, a dict, or a file')
    cfg = with_names(cfg)
    if not isinstance(cfg.get('model'), dict) or not cfg.model.get('type'):
        raise ConfigError('cfg.model: missing, or without a type; valid: a whole config of a model')
    return cfg


def make_distilled(
    cfg: Config, distilled: str, teacher: dict[str, Any], sites: dict[str, Any]
) -> None:
    """Turn the plain model of a config into a distilled one, in place.

    Args:
        cfg (Config): Its model is plain.
        distilled (str): What :func:`distilled_type` says of the model.
        teacher (dict): See :class:`btkd_det.models.Teacher`.
        sites (dict): Site name to losses.
    """
    scope = cfg.get('default_scope')
    host = host_name(cfg.model, scope)
    if scope in (None, 'mmdet'):
        host = host.removeprefix('mmdet.')
    of_rtmdet = distilled == SINGLE_STAGE and 'RTMDet' in preset_keys(cfg.model, scope)
    cfg.model.update(type=distilled, teacher=teacher, distill=sites)
    if distilled == ANY:
        cfg.model.host = host
    if of_rtmdet:
        cfg.model.setdefault('use_syncbn', True)
    given = dict(cfg.get('custom_imports') or {})
    # MMEngine takes a single name as text, too.
    names = given.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'btkd_det' not in names:
        cfg.custom_imports = dict(given, imports=[*names, 'btkd_det'])


def teacher_from_options(
    config: str | None, checkpoint: str | None, options: dict[str, Any] | None = None
) -> dict[str, Any]:
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
    return with_options(teacher, options, 'model.teacher') if options else teacher


def _fill_class_count(cfg: Config) -> None:
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


def count_classes(cfg: Config) -> int | None:
    """How many classes a model tells apart, as its config or its data say.

    Args:
        cfg (Config): The whole config.

    Returns:
        int | None: Without background; ``None`` where nothing tells.
    """
    model = cfg.model
    # MMPretrain's VGG and LeNet classify in the backbone, below a head that only has a loss.
    for part in (head_of(model), model.get('backbone') or {}):
        count = part.get('num_classes') if isinstance(part, dict) else None
        if isinstance(count, int) and count > 0:
            return count
    from ..preflight import classes_of_data

    classes = classes_of_data(cfg)
    return None if classes is None else len(classes)


def added_text(cfg: Config) -> str:
    """What :func:`distill` added to a config, as lines that can stand in a config.

    Args:
        cfg (Config): The distilled config.

    Returns:
        str: To follow the plain config's ``_base_``.
    """
    added = {name: cfg.model[name] for name in ADDED if name in cfg.model}
    return Config(dict(custom_imports=cfg.custom_imports, model=added)).pretty_text
