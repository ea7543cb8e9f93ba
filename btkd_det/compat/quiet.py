"""Lines that the host packages print of what nobody asked for."""

import functools
from typing import Any

from mmengine import logging

#: onedl-mmdetection and onedl-mmpretrain print it of a package that is not public.
UNASKED = 'Could not import OneDL'


def install() -> None:
    """Keep the host packages from printing :data:`UNASKED`; may be called any number of times.

    They say it at the level DEBUG, but without a logger, where MMEngine prints whatever the level
    is. Call it before the first import of ``mmdet``.
    """
    if hasattr(logging.print_log, 'without_unasked'):
        return
    original = logging.print_log

    @functools.wraps(original)
    def print_log(msg: Any, *args: Any, **kwargs: Any) -> None:
        if not str(msg).startswith(UNASKED):
            original(msg, *args, **kwargs)

    print_log.without_unasked = True
    logging.print_log = print_log
