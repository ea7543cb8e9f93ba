"""One config of each kind of the two zoos: of each folder, model and backbone."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from btkd_det.config_file import read_config, type_name
from btkd_det.errors import ConfigError

ZOOS = ('mmdet', 'mmpretrain')


def kinds(zoo: str, only: str = '') -> Iterator[str]:
    """The configs of a zoo, as ``read_config`` takes them.

    Args:
        zoo (str): ``'mmdet'`` or ``'mmpretrain'``.
        only (str): Of the folders with this in their name.

    Yields:
        str: Such as ``'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'``.
    """
    package = Path(importlib.util.find_spec(zoo).submodule_search_locations[0])
    folder = package / '.mim' / 'configs'
    seen = set()
    for path in sorted(folder.glob('*/*.py')):
        if path.parent.name.startswith('_') or only not in path.parent.name:
            continue
        name = f'{zoo}::{path.relative_to(folder).as_posix()}'
        try:
            model = read_config(name, 'config').get('model')
        except ConfigError:
            continue
        kind = (path.parent.name, *model_kind(model))
        if not kind[1] or kind in seen:
            continue
        seen.add(kind)
        yield name


def model_kind(model: Any) -> tuple[str, str]:
    """The types of a model and of its backbone, empty where there is none."""
    if not isinstance(model, dict):
        return '', ''
    inner = model.get('detector') or model.get('model') or model
    backbone = inner.get('backbone') if isinstance(inner, dict) else None
    return type_name(model), type_name(backbone or {})


def shrunk(node: Any) -> None:
    """Download nothing and build ResNets of 50 layers at most; in place.

    Args:
        node (dict | list): A model's config.
    """
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list, tuple)):
            shrunk(value)
    if not isinstance(node, dict):
        return
    if 'init_cfg' in node:
        node['init_cfg'] = None
    if node.get('depth') in (101, 152, 200, 269):
        node['depth'] = 50
