"""A teacher's model from its config."""

import copy
from pathlib import PurePath
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope

from ..checkpoint import weights_only
from ..config.new_style import node_with_names
from ..config.reading import read_config
from ..errors import BUILD_ERRORS, ConfigError
from ..hints import Model
from ..provenance import config_digest


def digest_of_config(config: str | dict[str, Any]) -> str:
    """The digest of a teacher's config; see :func:`btkd_det.provenance.config_digest`.

    Args:
        config (str | dict): As ``teacher.config``.

    Returns:
        str: SHA-256 in hexadecimal.

    Raises:
        ConfigError: It cannot be read.
    """
    return config_digest(read_model(config)[0])


def read_model(config: str | dict[str, Any] | Config) -> tuple[ConfigDict, str | None]:
    """The ``model`` part of what the user gave, and the registry scope it is meant for.

    Args:
        config (str | dict | Config): As ``teacher.config``.

    Returns:
        tuple[ConfigDict, str | None]: A copy that can be built, and the scope.

    Raises:
        ConfigError: It is no config, or holds no model.
    """
    if isinstance(config, (str, PurePath)):
        config = read_config(config, 'teacher.config')
    if not isinstance(config, (dict, Config)):
        raise ConfigError(f'teacher.config: expected a path or a dict, got {config!r}')
    scope = config.get('default_scope')
    model = config.get('model', config)
    if 'type' not in model:
        raise ConfigError(
            f"teacher.config: no 'model' with a 'type' in it; its keys are {', '.join(config)}"
        )
    model = ConfigDict(copy.deepcopy(node_with_names(model)))
    if 'data_preprocessor' in config and 'model' in config:
        model.setdefault('data_preprocessor', config['data_preprocessor'])
    return model, scope


def build_model(model: ConfigDict, scope: str | None) -> Model:
    """Build a teacher's model without initial weights: the checkpoint gives all of them.

    Args:
        model (ConfigDict): From :func:`read_model`; changed on the way.
        scope (str | None): Likewise.

    Returns:
        nn.Module: The model.

    Raises:
        ConfigError: It cannot be built.
    """
    _drop_initialization(model)
    # A distilled student can be the next student's teacher; its own teacher stays at home.
    if str(model['type']).startswith('btkd_det.'):
        # None: an empty dict would be merged into what is there.
        model.update(teacher=None, distill=None)
    if scope is None and DefaultScope.get_current_instance() is None:
        scope = 'mmdet'
    try:
        # A model may read checkpoints of its own while it is built.
        with weights_only(), MMENGINE_MODELS.switch_scope_and_registry(scope) as registry:
            return registry.build(model)
    except ConfigError:
        raise
    except BUILD_ERRORS as error:
        raise ConfigError(f'teacher.config: the model cannot be built: {error}') from error


def _drop_initialization(node: Any) -> None:
    """Take out every ``init_cfg``: the checkpoint gives all weights, so none is downloaded."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'init_cfg':
                node[key] = None
            else:
                _drop_initialization(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _drop_initialization(value)
