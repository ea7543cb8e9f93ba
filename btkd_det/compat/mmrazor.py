"""MMRazor's distillation on today's PyTorch and MMCV.

``import btkd_det.compat.mmrazor`` (or ``custom_imports`` with that name) imports
``mmrazor.models`` and ``mmrazor.engine`` of an unmodified MMRazor 1.0.0, and so registers its
distillers, connectors, losses and hooks. Three things stand in the way of a plain import:

- MMRazor refuses every MMCV above 2.1.0. MMCV's version reads 2.1.0 while MMRazor's top level
  is imported, and is itself again afterwards.
- Its ``teacher_ckpt`` is read by MMEngine, and PyTorch 2.6 and later refuse the types that MMEngine
  itself writes into a checkpoint. They are declared safe, as plain data.
- MMRazor's quantization is written against private parts of PyTorch 1.13 that are gone, and the
  rest of MMRazor imports it. A finder serves empty modules in place of the six that make it up.
  They import, and what is taken from them raises ``NotImplementedError`` as soon as it is used,
  by name in a config, too.

Distillation, pruning and architecture search do not need quantization. Where MMRazor imports by
itself, or has been imported, nothing of this happens.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .faults import explain, install

# The newest MMCV that MMRazor 1.0.0 takes.
NEWEST_MMCV = '2.1.0'
# The first of them imports no other and registers nothing, so it can be tried.
QUANTIZATION = (
    'mmrazor.structures.quantization',
    'mmrazor.models.quantizers',
    'mmrazor.models.observers',
    'mmrazor.models.fake_quants',
    'mmrazor.models.algorithms.quantization',
    'mmrazor.engine.runner.quantization_loops',
)
IMPORTED = ('mmrazor.models', 'mmrazor.engine')
# What a config of quantization names: registry, then its names by the module they are in.
REGISTERED = {
    'MODELS': {
        'mmrazor.models.algorithms.quantization': ('MMArchitectureQuant',),
        'mmrazor.models.quantizers': (
            'TorchNativeQuantizer',
            'OpenVINOQuantizer',
            'TensorRTQuantizer',
            'AcademicQuantizer',
        ),
    },
    'MODEL_WRAPPERS': {'mmrazor.models.algorithms.quantization': ('MMArchitectureQuantDDP',)},
    'LOOPS': {
        'mmrazor.engine.runner.quantization_loops': (
            'QATEpochBasedLoop',
            'LSQEpochBasedLoop',
            'QATValLoop',
            'PTQLoop',
        ),
    },
}


class _Unavailable:
    """Anything of MMRazor's quantization: can be imported, and refuses to be used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _refuse(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f'quantization is not available: {self._name} needs parts of PyTorch that this one '
            'no longer has, so btkd_det.compat.mmrazor leaves out this half of MMRazor'
        )

    # The last one is asked when something is derived from it.
    __call__ = __mro_entries__ = _refuse

    def __getattr__(self, name: str) -> None:
        if name.startswith('__'):
            raise AttributeError(name)
        self._refuse()

    def __repr__(self) -> str:
        return f'<{self._name}, not available>'


class _QuantizationFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of MMRazor's quantization before the real ones are found."""

    def find_spec(self, fullname: Any, path: str | Path | None = None, target: Any = None) -> Any:
        if not _is_quantization(fullname):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=__name__, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        def unavailable(name: str) -> _Unavailable:
            if name.startswith('__'):
                raise AttributeError(f'module {module.__name__!r} has no attribute {name!r}')
            return _Unavailable(f'{module.__name__}.{name}')

        module.__all__ = []
        module.__getattr__ = unavailable


def quantization_replaced() -> bool:
    """Whether MMRazor's quantization has been left out in this process.

    Returns:
        bool: False where MMRazor imports by itself.
    """
    return any(isinstance(finder, _QuantizationFinder) for finder in sys.meta_path)


def _is_quantization(module: ModuleType) -> bool:
    return any(module == name or module.startswith(f'{name}.') for name in QUANTIZATION)


@contextlib.contextmanager
def _accepted_mmcv() -> Iterator[None]:
    """MMCV says that it is the newest one that MMRazor takes."""
    import mmcv

    version = mmcv.__version__
    mmcv.__version__ = NEWEST_MMCV
    try:
        yield
    finally:
        mmcv.__version__ = version


def _import_top_level() -> None:
    import mmcv
    from mmengine.utils import digit_version

    try:
        importlib.import_module('mmrazor')
        return
    except AssertionError:
        if digit_version(mmcv.__version__) <= digit_version(NEWEST_MMCV):
            raise
    # Not within the handler: the refusal is no cause of what may go wrong from here on.
    with _accepted_mmcv():
        importlib.import_module('mmrazor')


def _quantization_imports() -> bool:
    try:
        importlib.import_module(QUANTIZATION[0])
    except Exception:
        # It stays there where it was imported to its end and something later raised.
        if QUANTIZATION[0] in sys.modules:
            raise
        for name in [name for name in sys.modules if _is_quantization(name)]:
            del sys.modules[name]
        return False
    return True


def _import_distillation() -> None:
    _import_top_level()
    finder = None
    if not _quantization_imports() and not quantization_replaced():
        finder = _QuantizationFinder()
        sys.meta_path.insert(0, finder)
    try:
        for name in IMPORTED:
            importlib.import_module(name)
    except BaseException:
        if finder is not None:
            sys.meta_path.remove(finder)
        raise


def _register_refusals() -> None:
    """A config that asks for quantization hears why there is none."""
    registries = importlib.import_module('mmrazor.registry')
    for registry, modules in REGISTERED.items():
        for module, names in modules.items():
            for name in names:
                refuse = _refusal(f'{module}.{name}')
                getattr(registries, registry).register_module(name=name, module=refuse, force=True)


def _refusal(name: str) -> Any:
    """A class, as MMEngine asks whether models are instances of what is registered."""

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        _Unavailable(name)()

    return type(name.rpartition('.')[2], (), {'__init__': refuse})


def _import_mmrazor() -> None:
    if all(name in sys.modules for name in IMPORTED):
        return
    if importlib.util.find_spec('mmrazor') is None:
        raise ModuleNotFoundError(
            f'mmrazor is not installed: {install(["mmrazor"])}', name='mmrazor'
        )
    try:
        _import_distillation()
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        raise ImportError(f'btkd_det.compat.mmrazor: {explanation}') from error
    if quantization_replaced():
        _register_refusals()
    from ..checkpoint import allow_mmengine_types

    allow_mmengine_types()


_import_mmrazor()
