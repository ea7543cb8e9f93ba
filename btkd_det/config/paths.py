"""``btkd_det::coco/x.py`` names a config of this package, as ``mmdet::...`` names MMDetection's.

The configs lie in ``btkd_det/.mim/configs``: copied there in a wheel, by a link to the top-level
``configs/`` in a checkout.
"""

import functools
from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

SCOPE = 'btkd_det'
#: A module in the folder that ``.mim`` lies in.
_BESIDE_MIM = 'btkd_det.registry'


def register() -> None:
    """Make MMEngine find configs of this package, in ``_base_`` and in ``get_config``.

    Cheap, and may be called any number of times.
    """
    # MMEngine asks for a package here and takes the folder that it lies in. A module does as
    # well, and is found alike in a wheel, an editable install and a bare checkout, where the
    # metadata of a package tells a place without configs or is not there at all.
    MODULE2PACKAGE[SCOPE] = _BESIDE_MIM
    if not hasattr(Config._get_cfg_path, 'without_scope'):
        Config._get_cfg_path = staticmethod(_without_scope(Config._get_cfg_path))


def _without_scope(get_cfg_path: Callable) -> Callable:
    """Keep MMEngine from looking up the types of our configs in our registries alone.

    What stands in a config of ``mmdet::`` is built in the scope ``mmdet``. Our configs name
    MMDetection's types plainly and our own as ``btkd_det.X``, so they are read as if they lay
    beside the config that names them: in that config's own scope.

    Args:
        get_cfg_path (Callable): MMEngine's ``Config._get_cfg_path``.

    Returns:
        Callable: The same, with no scope for configs of this package.
    """

    @functools.wraps(get_cfg_path)
    def wrapper(cfg_path: Any, filename: str) -> tuple:
        path, scope = get_cfg_path(cfg_path, filename)
        return path, None if scope == SCOPE else scope

    wrapper.without_scope = SCOPE  # type: ignore[attr-defined]
    return wrapper
