"""The student's plain config out of a distilled one."""

import copy
from typing import Any

from mmengine.config import Config

from .distilled_types import plain_type
from .named_types import is_type, type_package
from .reading import type_name

_OF_DISTILLATION = ('teacher', 'distill', 'host', 'mixed')


def without_distillation(cfg: Config) -> Config:
    """The same config with neither teacher nor distillation: for evaluating the student.

    Args:
        cfg (Config): Any config; one without distillation comes back unchanged.

    Returns:
        Config: A copy.
    """
    cfg = copy.deepcopy(cfg)
    # Other models may have a teacher, too: MMRazor's do.
    ours = _is_ours(cfg.model) and type_name(cfg.model).startswith('Distilled')
    if ours or 'distill' in cfg.model:
        for key in ('distill', 'teacher'):
            if key in cfg.model:
                cfg.model[key] = None
    return cfg


def plain_config(cfg: Config) -> Config | None:
    """The config of the student alone.

    Args:
        cfg (Config): A whole config.

    Returns:
        Config | None: A copy whose model is of the host's own class, without what serves
        distillation: the teacher, the hooks of this package and the comparison with the teacher.
        It imports ``btkd_det`` where something of it is left, such as a backbone. ``None`` where
        the model is not distilled, or by a class of somebody else's.
    """
    host = plain_type(cfg.get('model') or {})
    if host is None:
        return None
    cfg = copy.deepcopy(cfg)
    cfg.model.type = host
    for key in _OF_DISTILLATION:
        cfg.model.pop(key, None)
    if cfg.get('custom_hooks'):
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not _is_ours(hook)]
    saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if _is_ours(saving) and type_name(saving) == 'AtomicCheckpointHook':
        saving.pop('on_error', None)
        saving['type'] = 'CheckpointHook'
    for key in ('val_evaluator', 'test_evaluator'):
        evaluator = cfg.get(key)
        wrapped = isinstance(evaluator, dict) and isinstance(evaluator.get('metrics'), list)
        place, name = (evaluator, 'metrics') if wrapped else (cfg, key)
        if isinstance(place.get(name), list):
            place[name] = [
                part for part in place[name] if not is_type(part, 'btkd_det', 'TeacherAgreement')
            ]
    _drop_import(cfg)
    return cfg


def _is_ours(part: Any) -> bool:
    return type_package(part) == 'btkd_det'


def _drop_import(cfg: Config) -> None:
    """Take out the import of this package where nothing of it is left."""
    imports = dict(cfg.get('custom_imports') or {})
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'btkd_det' not in names or 'btkd_det.' in repr(_parts(cfg)):
        return
    names.remove('btkd_det')
    if names:
        cfg.custom_imports = dict(imports, imports=names)
    else:
        cfg.pop('custom_imports')


def _parts(cfg: Config) -> list[Any]:
    """What of a config is built, without its paths."""
    return [value for value in cfg.values() if isinstance(value, (dict, list))]
