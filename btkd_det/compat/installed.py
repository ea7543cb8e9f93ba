"""Which of the host packages are there. Only detectors need MMDetection, for one."""

import importlib.util
import sys


def is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported, and may be broken.

    Args:
        package (str): A top-level name, such as ``'mmdet'``.

    Returns:
        bool: False, too, where an import finder refuses it.
    """
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False
