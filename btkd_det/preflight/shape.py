"""Whether the parts of a config that are read before anything is built are what they have to be."""

from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS as MMENGINE_MODELS

from ..checks import suggest
from ..config.named_types import class_of
from ..config.reading import type_name
from ..errors import ConfigError
from ..registry import MODELS, check_keys

_DICT = 'a dict with a type'
_EXAMPLES = {
    'model.teacher': "dict(config='CONFIG', checkpoint='FILE')",
    'model.distill': 'dict(SITE=dict(type=LOSS, ...))',
    'train_cfg': 'a dict, such as dict(max_epochs=12)',
    'custom_imports': "dict(imports=['btkd_det'])",
}


def check_shape(cfg: Config) -> None:
    """Refuse a value of another type than the place expects, and misspelled keys of the model.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: The first such value or key.
    """
    for field in (
        *('model', 'train_cfg', 'custom_imports', 'optim_wrapper', 'default_hooks'),
        *('train_dataloader', 'val_dataloader', 'test_dataloader'),
    ):
        _check_dict(cfg.get(field), field)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        _check_dict((cfg.get(loader) or {}).get('dataset'), f'{loader}.dataset')
    hooks = cfg.get('custom_hooks')
    if hooks is not None and not isinstance(hooks, (list, tuple)):
        raise ConfigError(f'custom_hooks: {hooks!r}; valid: a list of dicts with a type')
    for i, hook in enumerate(hooks or []):
        if isinstance(hook, (str, int, float, list, tuple)) or hook is None:
            raise ConfigError(f'custom_hooks[{i}]: {hook!r}; valid: {_DICT}')
    model = cfg.get('model') or {}
    _check_dict(model.get('teacher'), 'model.teacher')
    _check_dict(model.get('distill'), 'model.distill')
    _check_model(model, cfg.get('default_scope'))


def _check_dict(value: Any, field: str) -> None:
    # What is built already, such as a teacher or a data set, may stand there in a program.
    plain = isinstance(value, (str, int, float, list, tuple, set))
    if plain and not isinstance(value, Config):
        raise ConfigError(f'{field}: {value!r}; valid: {_EXAMPLES.get(field, _DICT)}')


def _check_model(model: Any, scope: str | None) -> None:
    kind = model.get('type')
    if not isinstance(kind, str):
        return
    own = {name for name in MODELS.module_dict if name.startswith('Distilled')}
    own.add('DistilledImageClassifier')
    name = type_name(model)
    without = '.' not in kind and (name in own or suggest(name, own) and name.startswith('Distil'))
    # The user may have registered a class of such a name.
    if without and class_of(model, MMENGINE_MODELS, scope) is None:
        near = name if name in own else suggest(name, own).split("'")[1]
        raise ConfigError(
            f"model.type: {kind!r} has no scope; valid: 'btkd_det.{near}' (with custom_imports="
            "dict(imports=['btkd_det']))"
        )
    if kind.startswith('btkd_det.') and name in own and name != 'DistilledDetector':
        keys = {key: value for key, value in model.items() if key not in ('type', '_scope_')}
        check_keys(MODELS.get(kind), keys, 'model')
