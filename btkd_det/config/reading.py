"""Reading the config that the user named, with an error that says what is wrong with it."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from mmengine.config import Config

from ..checks import check_file
from ..errors import ConfigError
from .new_style import with_names


def read_config(path: str | PurePath, field: str) -> Config:
    """Read an MMEngine config.

    Args:
        path (str): A file, or a config of an installed package (``'mmdet::...'``).
        field (str): Where ``path`` comes from, for the error message.

    Returns:
        Config: The config, with names for types also where it is in MMEngine's new style.

    Raises:
        ConfigError: There is no such config, or it does not load.
    """
    path = str(path)
    packaged = '::' in path
    if not packaged:
        valid = (
            "a config file or a config of an installed package, such as 'mmdet::faster_rcnn/"
            "faster-rcnn_r50_fpn_1x_coco.py'"
        )
        check_file(field, path, valid)
    try:
        if packaged:
            # As the one base of an empty config: the way in which MMEngine looks packages up.
            return Config.fromstring(f'_base_ = {path!r}\n', file_format='.py')
        return with_names(Config.fromfile(path))
    except (Exception, SystemExit) as error:  # a config is code: anything can go wrong in it
        text = ' '.join(str(error).split())
        what = f'it calls exit({text})' if isinstance(error, SystemExit) else text
        raise ConfigError(
            f'{field}: {path} does not load: {type(error).__name__}: {what}'
        ) from error


def head_of(model: dict[str, Any]) -> Any:
    """The config of the head that tells a model's classes apart; of a cascade's, the first."""
    head = model.get('head') or model.get('bbox_head') or {}
    if 'roi_head' in model:
        head = (model['roi_head'] or {}).get('bbox_head') or {}
    return head[0] if isinstance(head, (list, tuple)) and head else head


def metrics_of(evaluator: Any) -> list[Any]:
    """The metrics of an evaluator's config.

    Args:
        evaluator (dict | list): A metric, several, or ``dict(type='Evaluator', metrics=...)``, all
            of which MMEngine takes.

    Returns:
        list: The metrics' configs.
    """
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]


def innermost_dataset(dataset: Any) -> Any:
    """The config of a data set out of all that is wrapped around it, one in another."""
    while isinstance(dataset, dict) and isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset


def type_name(node: dict[str, Any], key: str = 'type') -> str:
    """The name of a type that a config names, be it text or, in MMEngine's new style, a class.

    Args:
        node (dict): Part of a config; of anything else no type is known.
        key (str): Where the type stands. Defaults to ``'type'``.

    Returns:
        str: Without its scope: ``'FasterRCNN'``; empty where there is none.
    """
    kind = node.get(key) if isinstance(node, dict) else None
    name = getattr(kind, '__name__', None) or str(kind or '')
    return name.rpartition('.')[2]


def losses_of(site: Any) -> Sequence[Any]:
    """The losses of a site as a config states them: one, several, or beside the site's options.

    Args:
        site (dict | list): An entry of ``distill``.

    Returns:
        Sequence: Each loss as it stands there.
    """
    losses = site.get('losses', site) if isinstance(site, dict) else site
    return losses if isinstance(losses, (list, tuple)) else [losses]
