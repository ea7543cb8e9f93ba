"""MMCV without a compiler: torchvision's compiled ops behind the names of ``mmcv._ext``.

MMCV's Python half (``mmcv.ops``) calls an extension module ``mmcv._ext`` that takes a
compiler and many minutes to build. mmcv-lite and plain wheels leave it out, and then nothing
of MMDetection can be imported. ``install`` closes that gap: it adds the last of Python's
import finders, one that is asked for ``mmcv._ext`` only after all others have found nothing.
So a compiled extension, wherever it lies, always comes first and is never touched.

What torchvision has no op for is still there as a name (MMCV checks the names when it is
imported) and says on call how to get it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from . import distributions

EXTENSION = 'mmcv._ext'


class _TorchvisionFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and fills ``mmcv._ext`` where no other finder has one."""

    def find_spec(self, fullname: Any, path: str | Path | None = None, target: Any = None) -> Any:
        if fullname != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=__name__)

    def exec_module(self, module: ModuleType) -> None:
        from . import ops

        for name in ops.__all__:
            setattr(module, name, getattr(ops, name))
        module.__getattr__ = _missing_op


def install() -> None:
    """Let torchvision serve MMCV's ops where no compiled ``mmcv._ext`` can be found.

    Cheap, imports neither MMCV nor torch, and may be called any number of times. Call it
    before the first import of ``mmcv.ops`` or ``mmdet``.
    """
    if not any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.append(_TorchvisionFinder())


def installed() -> bool:
    """Whether torchvision serves MMCV's ops in this process.

    Returns:
        bool: False where MMCV has its own compiled ops, where MMCV is missing, and before
        ``install``.
    """
    try:
        spec = importlib.util.find_spec(EXTENSION)
    except ModuleNotFoundError:
        return False
    return spec is not None and isinstance(spec.loader, _TorchvisionFinder)


def provided() -> list[str]:
    """Names of the functions of ``mmcv._ext`` that are served, sorted.

    Returns:
        list[str]: Every other name raises ``NotImplementedError`` on call.
    """
    from . import ops

    return sorted(ops.__all__)


def _missing_op(name: str) -> Any:
    if name.startswith('__'):
        raise AttributeError(f'module {EXTENSION!r} has no attribute {name!r}')

    def missing(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f'the MMCV op {name!r} needs an MMCV with compiled ops: this one has none, and '
            f'torchvision, which stands in for them, has no such op. To build it: '
            f'{distributions.build_mmcv()}'
        )

    missing.__name__ = missing.__qualname__ = name
    return missing
