"""The model is built once, and holds as many classes as the data."""

import copy
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as MMENGINE_MODELS

from ..checkpoint import load_weights, read_checkpoint, weights_only
from ..errors import BUILD_ERRORS, ConfigError
from ..hints import Model
from ..models.data_classes import check_distilled as check_distilled_classes
from ..models.data_classes import listed
from .building import reason
from .data import classes_of_data
from .registries import explain_type


def check_model(cfg: Config) -> Model:
    """Build the model once, and hold its classes against the data's and the teacher's.

    Args:
        cfg (Config): The whole config, its data checked.

    Returns:
        nn.Module: The model, on the CPU. It is of no further use: the run builds its own under
        its own seed.

    Raises:
        ConfigError: The model does not build, its classes are not the data's or the teacher's,
            or the weights of an MMRazor model's teacher are not its own.
    """
    teacher = cfg.model.get('teacher')
    given = teacher is None or teacher.get('checkpoint') or teacher.get('cache')
    if cfg.model.get('distill') and not given:
        raise ConfigError(
            'model.teacher.checkpoint: missing; valid: the path of a checkpoint, an http(s) '
            "address, or 'pretrained' for a config of an installed package"
        )
    # MMRazor's key; it would go on with whatever weights fit, down to none.
    weights = cfg.model.get('teacher_ckpt')
    if weights:
        read_checkpoint(weights, 'model.teacher_ckpt')
    model = build_model(cfg)
    if weights and hasattr(model, 'teacher'):
        load_weights(model.teacher, weights, 'model.teacher_ckpt')
    classes = classes_of_data(cfg)
    if classes is not None:
        _check_class_count(model, classes)
        check_distilled_classes(model, classes)
    return model


def build_model(cfg: Config) -> Model:
    """Build ``cfg.model`` as MMEngine's runner does.

    Args:
        cfg (Config): The whole config.

    Returns:
        nn.Module: The model.

    Raises:
        ConfigError: What MMEngine's builders complain of, with the field ``model`` before it.
    """
    # A copy, for building takes keys out; not its to_dict(), which makes text of classes.
    model_cfg = ConfigDict(copy.deepcopy(cfg.model))
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        scope = MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope'))
        # A model may read checkpoints while it is built.
        with weights_only(), scope as registry:
            return registry.build(model_cfg)
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith('model') else f'model.{message}') from error
    except BUILD_ERRORS as error:
        explain_type(model_cfg, 'model', cfg.get('default_scope') or 'mmengine', error)
        raise ConfigError(f'model: cannot be built: {reason(error)}') from error


def _check_class_count(model: Any, classes: Any) -> None:
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if not isinstance(count, int) or 'rpn' in name or not f'_{name}'.endswith('_head'):
            continue
        if count != len(classes):
            raise ConfigError(
                f'model.{name}.num_classes: {count}, but the data set has {len(classes)} classes '
                f'({listed(classes)}); valid: {len(classes)}'
            )
