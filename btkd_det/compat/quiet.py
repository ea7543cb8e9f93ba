"""Lines that the host packages print of what nobody asked for."""

import functools
import warnings
from typing import Any

from mmengine import logging

#: onedl-mmdetection and onedl-mmpretrain print it of a package that is not public.
UNASKED = 'Could not import OneDL'
#: OpenMMLab's own MMEngine imports it in each process, and setuptools warns of it each time.
DEPRECATED = 'pkg_resources is deprecated as an API'


def install() -> None:
    """Keep the host packages from saying :data:`UNASKED` and :data:`DEPRECATED`.

    The first they say at the level DEBUG, but without a logger, where MMEngine prints whatever the
    level is. Call it before the first import of ``mmdet``, any number of times.
    """
    warnings.filterwarnings('ignore', message=DEPRECATED, category=UserWarning)
    if hasattr(logging.print_log, 'without_unasked'):
        return
    original = logging.print_log

    @functools.wraps(original)
    def print_log(msg: Any, *args: Any, **kwargs: Any) -> None:
        if not str(msg).startswith(UNASKED):
            original(msg, *args, **kwargs)

    print_log.without_unasked = True
    logging.print_log = print_log
