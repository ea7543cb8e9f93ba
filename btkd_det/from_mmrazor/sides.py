"""The student and the teacher of a distillation, as MMRazor's config gives them."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from ..config.named_types import is_type, type_package
from ..config.reading import read_config, type_name
from ..errors import ConfigError
from ..teacher.zoo import pretrained_address
from .scopes import RAZOR, renamed


@dataclass
class Side:
    """The student or the teacher as MMRazor's config gives it.

    Attributes:
        model (ConfigDict): The model's config, with its own ``data_preprocessor``.
        scope (str | None): Where they are looked up; None where nothing tells.
        path (str | None): The config that says all of the model, if there is one.
        source (str | None): The config that it comes from, if there is one.
        pretrained (bool): Whether the model zoo's weights are asked for.
    """

    model: ConfigDict
    scope: str = None
    path: str = None
    source: str = None
    pretrained: bool = False


def read_side(node: Any, where: str) -> Side:
    """What MMRazor's ``architecture`` or ``teacher`` says; ConfigError."""
    if not isinstance(node, dict) or not node:
        raise ConfigError(
            f"{where}: {node!r}; valid: dict(cfg_path='mmdet::...'), or a model's own dict"
        )
    if node.get('cfg_path') and not node.get('type'):
        field, known = 'cfg_path', ('cfg_path', 'pretrained', '_scope_')
    elif is_type(node, 'btkd_det', 'ModelOfConfig'):
        field, known = 'config', ('type', 'config', '_scope_')
    else:
        scope = renamed(node.get('_scope_'))
        return Side(copy.deepcopy(node), None if scope == RAZOR else scope)
    path = renamed(node.get(field))
    cfg = read_config(path, f'{where}.{field}')
    if not isinstance(cfg.get('model'), dict):
        raise ConfigError(f'{where}.{field}: {path} has no model; valid: the config of a model')
    model = cfg.model
    if 'data_preprocessor' in cfg and (field == 'cfg_path' or 'data_preprocessor' not in model):
        model.data_preprocessor = cfg.data_preprocessor
    # MMEngine's hub takes what stands beside the path where the model's config says nothing.
    beside = {key: node[key] for key in node if key not in known and key not in model}
    model.update(copy.deepcopy(beside))
    # Of no effect in a teacher, whose checkpoint gives all weights.
    whole = not beside.keys() - ({'init_cfg'} if where == 'model.teacher' else set())
    return Side(
        model,
        cfg.get('default_scope') or path.partition('::')[0],
        path if whole else None,
        path,
        bool(field == 'cfg_path' and node.get('pretrained')),
    )


def zoo_address(path: str | Path, field: str) -> Any:
    """The address of the model zoo's weights; ConfigError."""
    try:
        return pretrained_address(path)
    except ConfigError as error:
        raise ConfigError(f'{field}: {str(error).partition(": ")[2]}') from error


def normalization(preprocessor: Any) -> tuple:
    """Mean, deviation and whether channels are swapped before, as a config says."""
    given = preprocessor or {}
    values = [given.get(key) and [float(v) for v in given[key]] for key in ('mean', 'std')]
    return (*values, any(given.get(key) for key in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')))


def kind_of(node: Any) -> Any:
    """The type's name where a part of a config has one of MMRazor's, else the empty text.

    Of a class of the user's with a name of MMRazor's nothing is known.
    """
    return type_name(node) if type_package(node) in ('', RAZOR) else ''


def type_text(node: Any) -> Any:
    """The type of a part of a config for a message: with its scope, unless it is of MMRazor."""
    return kind_of(node) or given_type(node)


def given_type(node: Any) -> Any:
    return node.get('type') if isinstance(node, dict) else node
