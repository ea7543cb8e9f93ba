"""MMEngine's scopes, by which MMRazor's configs name the classes of several packages."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import mmengine.config.config
import mmengine.registry
from mmengine.config import ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

RAZOR = 'mmrazor'
# MMRazor registers these at MMEngine's root, so that they need no prefix in any scope.
_AT_ROOT = ('DMCPSubnetHook', 'DumpSubnetHook', 'EstimateResourcesHook')
# Their values may look like a class of MMRazor, and are names of the user's.
_NAMES = ('work_dir', 'experiment_name')


@contextlib.contextmanager
def razor_configs_load() -> Iterator[None]:
    """Within this context MMRazor's configs load as MMEngine's do, without MMRazor.

    They name MMPretrain by its former name, and import what a translation has no use for and
    what may not be installed.
    """
    loader = mmengine.config.config
    load, package = loader.import_modules_from_strings, MODULE2PACKAGE['mmcls']

    def load_others(imports: Any, allow_failed_imports: bool = False) -> Any:
        return load(others(imports), allow_failed_imports)

    MODULE2PACKAGE['mmcls'] = 'mmpretrain'
    loader.import_modules_from_strings = load_others
    try:
        yield
    finally:
        MODULE2PACKAGE['mmcls'] = package
        loader.import_modules_from_strings = load


def others(imports: str | list[str] | None) -> list[str]:
    """The modules of ``custom_imports`` that are not there for MMRazor's sake.

    Args:
        imports (str | list[str] | None): As MMEngine takes them.

    Returns:
        list[str]: By today's names.
    """
    imports = [imports] if isinstance(imports, str) else imports or []
    return [
        re.sub(r'^mmcls\b', 'mmpretrain', name)
        for name in imports
        if name.partition('.')[0] != RAZOR and name != 'btkd_det.compat.mmrazor'
    ]


def renamed(name: str) -> Any:
    """A scope, a type or a packaged config with ``mmcls`` by its name of today."""
    return re.sub(r'^mmcls(?=$|\.|::)', 'mmpretrain', name) if isinstance(name, str) else name


def by_todays_names(model: dict[str, Any]) -> dict[str, Any]:
    """A model's config with ``mmcls`` by its name of today in its own type and scope.

    Args:
        model (dict): The config; where its scope is MMRazor's, it says nothing of the model.

    Returns:
        dict: A copy.
    """
    scope = renamed(model.get('_scope_'))
    return dict(model, type=renamed(model.get('type')), _scope_=None if scope == RAZOR else scope)


class Settler:
    """Writes the parts of a config so that they mean the same outside MMRazor.

    A type means what it did: a ``_scope_`` that says something else than what is around it stays,
    or becomes the type's prefix where no other type stands below it.

    Args:
        missing (Callable[[str], None]): Takes what is of MMRazor and so cannot be settled.
    """

    def __init__(self, missing: Callable[[str], None]) -> None:
        self.missing = missing

    def settle(self, node: Any, where: str, scope: str, outer: str) -> Any:
        """A copy of a part of a config.

        Args:
            node: The part.
            where (str): Its place in the config.
            scope (str): Where the types of the part are looked up so far.
            outer (str): Where they will be looked up, unless the part says otherwise.

        Returns:
            The same kind of thing.
        """
        if isinstance(node, (list, tuple)):
            parts = [self.settle(v, f'{where}[{i}]', scope, outer) for i, v in enumerate(node)]
            return type(node)(parts)
        if not isinstance(node, dict):
            return self._value(node, where)
        own = renamed(node.get('_scope_'))
        stays = own not in (None, RAZOR, outer)
        inner = own if stays else outer
        scope = own or scope
        settled = ConfigDict()
        for key, value in node.items():
            if key == '_scope_':
                continue
            if key in ('type', 'constructor') and isinstance(value, str):
                settled[key] = self._type(value, where, scope, outer)
            elif key in _NAMES:
                settled[key] = value
            else:
                settled[key] = self.settle(value, f'{where}.{key}', scope, inner)
        if stays and _names_types(settled):
            settled['_scope_'] = own
        elif stays and isinstance(settled.get('type'), str) and '.' not in settled['type']:
            settled['type'] = f'{own}.{settled["type"]}'
        return settled

    def _value(self, value: Any, where: str) -> Any:
        if isinstance(value, str) and re.fullmatch(r'mmrazor(\.\w+)+', value):
            self.missing(f'{where}: {value} is of MMRazor')
        return value

    def _type(self, kind: str, where: str, scope: str, outer: Any) -> Any:
        kind = renamed(kind)
        if kind.startswith(f'{RAZOR}.') or kind in _AT_ROOT:
            self.missing(f'{where}: {kind} is of MMRazor')
        elif scope == RAZOR and '.' not in kind:
            registries = [registry for registry in _roots() if _registers(registry, kind)]
            if not registries:
                self.missing(f'{where}: {kind} is of MMRazor')
            elif any(_registers(registry.children.get(outer), kind) for registry in registries):
                return f'mmengine.{kind}'
        return kind


def _names_types(node: Any) -> bool:
    """Whether a type without a prefix stands below this one."""
    if isinstance(node, dict):
        return any(
            _names_types(value)
            or (isinstance(value, dict) and '.' not in str(value.get('type', '.')))
            for value in node.values()
        )
    if isinstance(node, (list, tuple)):
        return any(_names_types(dict(part=part)) for part in node)
    return False


def _roots() -> list[Any]:
    return [item for item in vars(mmengine.registry).values() if isinstance(item, Registry)]


def _registers(registry: Any, kind: str) -> bool:
    """Whether a registry, which may be None, itself has a class of this name."""
    if registry is None:
        return False
    registry.import_from_location()
    return kind in registry.module_dict
