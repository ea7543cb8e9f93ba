"""MMEngine's new-style configs, in which a type is a class, as configs in which it is a name.

A class does not survive what is done with a config after it is read: written to a file it becomes
its dotted path, and several of MMDetection's lead nowhere (``mmdet.models.losses`` has a function
of the name of the module that ``L1Loss`` is in). The name under which a class is registered does.
"""

import inspect
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry, root
from mmengine.utils import get_object_from_string

_LAZY = (LazyObject, LazyAttr)


def with_names(cfg: Config) -> Config:
    """A config with names in place of classes and functions.

    Args:
        cfg (Config): In either style.

    Returns:
        Config: The same object where it has no classes.
    """
    held = cfg._to_lazy_dict() if hasattr(cfg, '_to_lazy_dict') else cfg._cfg_dict.to_dict()
    if not _has_objects(held):
        return cfg
    return Config(node_with_names(held), cfg_text=cfg.text, filename=cfg.filename)


def node_with_names(node: dict[str, Any]) -> dict[str, Any]:
    """As :func:`with_names`, of a part of a config.

    Args:
        node (dict): The part, such as a model's.

    Returns:
        dict: A copy of its dicts and lists.
    """
    if not _has_objects(node):
        return node
    # Importing a module registers what is in it.
    built = _replaced(node, lambda held: held.build() if isinstance(held, _LAZY) else held)
    names = registered_names()
    return _replaced(built, lambda held: _name(held, names))


def registered_names() -> dict[Any, str]:
    """The name by which a config of any scope finds what is registered.

    Returns:
        dict[object, str]: With its scope, but for what MMEngine's own registries have and no
        package has under the same name: code that asks for ``'BN'`` finds it then.
    """
    names: dict[Any, str] = {}
    for registry in vars(root).values():
        if isinstance(registry, Registry):
            below = list(_children(registry))
            taken = {name for child in below for name in child.module_dict}
            # A package may have registered a class of MMEngine's under its own scope, too.
            for name, found in registry.module_dict.items():
                names.setdefault(found, f'{registry.scope}.{name}' if name in taken else name)
            for child in below:
                for name, found in child.module_dict.items():
                    names.setdefault(found, f'{child.scope}.{name}')
    return names


def _children(registry: Any) -> Iterator[Any]:
    for child in registry.children.values():
        yield child
        yield from _children(child)


def _is_object(value: Any) -> bool:
    held = isinstance(value, (*_LAZY, PurePath))
    return held or inspect.isclass(value) or inspect.isroutine(value)


def _has_objects(node: Any) -> bool:
    if isinstance(node, dict):
        return any(_has_objects(value) for value in dict.values(node))
    if isinstance(node, (list, tuple)):
        return any(map(_has_objects, node))
    return _is_object(node)


def _replaced(node: Any, change: Any) -> Any:
    """A copy of dicts and lists with every class, function and lazy object changed."""
    if isinstance(node, dict):
        return {key: _replaced(value, change) for key, value in dict.items(node)}
    if isinstance(node, (list, tuple)):
        parts = [_replaced(value, change) for value in node]
        return type(node)(*parts) if hasattr(node, '_fields') else type(node)(parts)
    return change(node) if _is_object(node) else node


def _name(found: Any, names: Any) -> Any:
    """How a config that is read from a file finds an object; the object where it cannot."""
    from mmcv import ops

    if isinstance(found, PurePath):
        return str(found)
    try:
        if found in names:
            return names[found]
    except TypeError:  # nothing that can be registered
        return found
    name = getattr(found, '__name__', '')
    # MMCV and MMDetection look these up by their bare names: nms, RoIAlign.
    if name and getattr(ops, name, None) is found:
        return name
    path = f'{getattr(found, "__module__", "")}.{name}'
    try:
        return path if get_object_from_string(path) is found else found
    except (ImportError, AttributeError, ValueError, TypeError):
        return found
