"""One config of each kind of the two zoos: of each folder, model and backbone."""

import importlib.util
import multiprocessing
import re
import signal
from pathlib import Path
from typing import Any

from btkd_det.config.reading import read_config, type_name
from btkd_det.errors import ConfigError

ZOOS = ('mmdet', 'mmpretrain')
#: Sizes in a config's name: l, h, g and words for them.
LARGE = re.compile(r'swin-?[lbh]|vit-?[lhg]|-[lhg](-|_|[.]py)|large|huge|giant|eva')


def kinds(zoo: str, only: str = '', workers: int = 1) -> list[str]:
    """The configs of a zoo, as ``read_config`` takes them.

    Args:
        zoo (str): ``'mmdet'`` or ``'mmpretrain'``.
        only (str): Of the folders with this in their name.
        workers (int): Processes that read configs. Defaults to 1.

    Returns:
        list[str]: Such as ``'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'``.
    """
    package = Path(importlib.util.find_spec(zoo).submodule_search_locations[0])
    folder = package / '.mim' / 'configs'
    names = [
        f'{zoo}::{path.relative_to(folder).as_posix()}'
        for path in sorted(folder.glob('*/*.py'))
        if not path.parent.name.startswith('_') and only in path.parent.name
    ]
    # The pool ends its processes by a signal that is an interrupt to this one: raised in the middle
    # of an answer it would leave them waiting for ever.
    default = (signal.SIGTERM, signal.SIG_DFL)
    with multiprocessing.get_context('fork').Pool(workers, signal.signal, default) as pool:
        found = pool.map(kind_of, names, chunksize=8)
    first: dict[tuple[str, ...], str] = {}
    for name, kind in zip(names, found, strict=True):
        if kind:
            first.setdefault(kind, name)
    return list(first.values())


def kind_of(name: str) -> tuple[str, ...] | None:
    """The folder of a config, the types of its model and backbone; None where it has no model."""
    try:
        model = read_config(name, 'config').get('model')
    except ConfigError:
        return None
    types = model_kind(model)
    return (name.rpartition('/')[0], *types) if types[0] else None


def is_large(name: str) -> bool:
    """Whether a config's name speaks of a large transformer, whose trial may take minutes."""
    return bool(LARGE.search(name.lower()))


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
