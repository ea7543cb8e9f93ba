"""Child registries of MMEngine's, scope ``btkd_det``, and one careful ``build``."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import DefaultScope, Registry
from torch import nn

from .checks import suggest
from .errors import ConfigError

SCOPE = 'btkd_det'


class OnDemandRegistry(Registry):
    """A registry that imports what other packages are needed for only when it is asked for.

    Args:
        *args, **kwargs: As MMEngine's ``Registry``.
        on_demand (dict[str, str]): Registered name to the module that registers it.
    """

    def __init__(self, *args: Any, on_demand: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on_demand = on_demand

    def get(self, key: str) -> Any:
        """As MMEngine's.

        Raises:
            ImportError: The package that ``key`` needs is not installed.
        """
        name = key.removeprefix(f'{SCOPE}.')
        if name in self._on_demand and name not in self.module_dict:
            importlib.import_module(self._on_demand[name])
        return super().get(key)


MODELS = OnDemandRegistry(
    'model',
    parent=MMENGINE_MODELS,
    scope=SCOPE,
    locations=['btkd_det.losses', 'btkd_det.models'],
    # MMPretrain and MMRazor cost seconds to import, and none of the hosts need be there.
    on_demand={
        'DistilledDetector': 'btkd_det.models.any_detector',
        'DistilledSingleStageDetector': 'btkd_det.models.single_stage',
        'DistilledTwoStageDetector': 'btkd_det.models.two_stage',
        'DistilledImageClassifier': 'btkd_det.models.classifier',
        'BTKDDistiller': 'btkd_det.models.mmrazor_distiller',
        'ModelOfConfig': 'btkd_det.models.mmrazor_distiller',
    },
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope=SCOPE, locations=['btkd_det.hooks'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope=SCOPE, locations=['btkd_det.datasets']
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope=SCOPE, locations=['btkd_det.optim']
)
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope=SCOPE, locations=['btkd_det.datasets']
)
#: The places of a model where knowledge is taken; nobody else's registry has them.
SITES = Registry('site', scope=SCOPE, locations=['btkd_det.sites'])
METRICS = OnDemandRegistry(
    'metric',
    parent=MMENGINE_METRICS,
    scope=SCOPE,
    locations=['btkd_det'],
    on_demand={
        'CocoAP': 'btkd_det.evaluation.coco_ap',
        'VocAP': 'btkd_det.evaluation.voc_ap',
    },
)


def build(cfg: dict[str, Any] | nn.Module, field: str, base: type, **default_args: Any) -> Any:
    """Build the registered ``base`` that ``cfg`` describes, or say what is wrong with it.

    A type without a scope is looked up here first, then in the default scope, so that
    ``dict(type='KDLoss')`` means ours in any config and a user's own class is found too.

    Args:
        cfg (dict | nn.Module): ``dict(type=..., key=value, ...)``. An instance of ``base``
            is returned as it is.
        field (str): Where ``cfg`` stands in the config, for the error message.
        base (type): The class that the result has to be an instance of.
        **default_args: Values for keys that ``cfg`` leaves out.

    Returns:
        object: An instance of ``base``.

    Raises:
        ConfigError: ``cfg`` is no dict with a ``type``, the type is unknown or no ``base``,
            it is abstract, a key is unknown or missing, or the class refuses a value.
    """
    if isinstance(cfg, base):
        _check_concrete(type(cfg), field, base)
        return cfg
    if not isinstance(cfg, dict) or 'type' not in cfg:
        raise ConfigError(
            f'{field}: expected dict(type=..., ...), got {cfg!r}; '
            f'valid types: {", ".join(registered(base))}'
        )
    args = {**default_args, **cfg}
    name = args.pop('type')
    args.pop('_scope_', None)
    cls = name if inspect.isclass(name) else _find(name)
    if cls is None or not (inspect.isclass(cls) and issubclass(cls, base)):
        raise ConfigError(
            f'{field}.type: {name!r} is not a registered {base.__name__}'
            f'{suggest(str(name).rpartition(".")[2], registered(base))}; '
            f'valid types: {", ".join(registered(base))}'
        )
    _check_concrete(cls, field, base)
    check_keys(cls, args, field)
    with MODELS.switch_scope_and_registry(None):
        try:
            return cls(**args)
        except ConfigError as error:
            if str(error).startswith(field):
                raise
            raise ConfigError(f'{field}.{error}') from error


def check_keys(cls: type, args: dict[str, Any], field: str) -> None:
    """Hold the keys of ``args`` against the constructor of ``cls``.

    Args:
        cls (type): The class that will be called with ``args``.
        args (dict): Keyword arguments.
        field (str): Where they stand in the config.

    Raises:
        ConfigError: A key is unknown, or a required one is missing.
    """
    parameters = {}
    takes_any = True
    for ancestor in cls.__mro__:
        if '__init__' not in vars(ancestor):
            continue
        own = inspect.signature(ancestor.__init__).parameters
        for name, parameter in list(own.items())[1:]:
            parameters.setdefault(name, parameter)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in own.values())
        if not takes_any or ancestor.__module__.startswith('torch.'):
            break
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    unknown = [key for key in args if key not in named]
    if unknown and not takes_any:
        raise ConfigError(
            f'{field}: unknown key {unknown[0]!r} (value {args[unknown[0]]!r}) for '
            f'{cls.__name__}{suggest(unknown[0], named)}; valid keys: {", ".join(named)}'
        )
    missing = [name for name, p in named.items() if p.default is p.empty and name not in args]
    if missing and not takes_any:
        raise ConfigError(
            f'{field}: {cls.__name__} needs the key {missing[0]!r}; valid keys: {", ".join(named)}'
        )


def unwritten(cls: type) -> list[str]:
    """Methods that a base marks with :func:`abc.abstractmethod` and ``cls`` does not have.

    Args:
        cls (type): A class.

    Returns:
        list[str]: Their names, sorted.
    """
    return [name for name in dir(cls) if getattr(getattr(cls, name), '__isabstractmethod__', False)]


def _lacks(cls: type) -> list[str]:
    """What of :func:`unwritten` is called: a class with a forward of its own calls what it has."""
    return [name for name in unwritten(cls) if _definer(cls, 'forward') is _definer(cls, name)]


def _definer(cls: type, name: str) -> type | None:
    return next((ancestor for ancestor in cls.__mro__ if name in vars(ancestor)), None)


def _check_concrete(cls: type, field: str, base: type) -> None:
    lacking = _lacks(cls)
    if lacking:
        raise ConfigError(
            f'{field}.type: {cls.__name__} is abstract, it has no {lacking[0]} of its own; valid '
            f'types: {", ".join(registered(base))}'
        )


def registered(base: type) -> list[str]:
    """Names of all classes registered in this scope that derive from ``base``, sorted.

    An abstract base is registered too, as the meeting point of who calls and who is called, and
    does not count: it can do nothing.
    """
    MODELS.import_from_location()
    return sorted(
        name
        for name, cls in MODELS.module_dict.items()
        if inspect.isclass(cls) and issubclass(cls, base) and not _lacks(cls)
    )


def _find(name: str) -> type | Callable | None:
    if '.' not in name:
        MODELS.import_from_location()
        if name in MODELS.module_dict:
            return MODELS.module_dict[name]
        scope = DefaultScope.get_current_instance()
        if scope is not None and scope.scope_name != SCOPE:
            name = f'{scope.scope_name}.{name}'
    try:
        return MODELS.get(name)
    except (KeyError, ImportError):
        return None
