"""Whose class a type of a config is: packages and users have classes of one name."""

import contextlib
from typing import Any

from mmengine.registry import DefaultScope, Registry

from ..errors import BUILD_ERRORS
from .reading import type_name


def type_package(node: Any) -> str:
    """The package that the type of a part of a config says it is of.

    Args:
        node (dict): Part of a config; of anything else no type is known.

    Returns:
        str: The first part of its scope or of its class's module; empty where nothing is said.
    """
    kind = node.get('type') if isinstance(node, dict) else None
    if kind is None:
        return ''
    if not isinstance(kind, str):
        return str(getattr(kind, '__module__', '')).partition('.')[0]
    return kind.partition('.')[0] if '.' in kind else str(node.get('_scope_') or '')


def is_type(node: Any, package: str, *names: str) -> bool:
    """Whether the type of a part of a config is one of these of a package, by what is written.

    For what need not be installed, such as MMRazor; for anything else see :func:`builds`.

    Args:
        node (dict): Part of a config.
        package (str): Such as ``'mmrazor'``. A type without any scope counts as of it.
        *names (str): Without a scope.

    Returns:
        bool: False also where there is no type.
    """
    return type_name(node) in names and type_package(node) in ('', package)


def class_of(node: Any, registry: Registry, scope: str | None = None) -> Any:
    """What MMEngine would build of a part of a config.

    Args:
        node (dict): Part of a config.
        registry (Registry): MMEngine's root registry of such things.
        scope (str | None): The default scope. Defaults to the one that is in force.

    Returns:
        type | Callable | None: ``None`` where there is no type, or nothing of its name is found.
    """
    kind = node.get('type') if isinstance(node, dict) else None
    if not isinstance(kind, str):
        return kind
    current = DefaultScope.get_current_instance()
    scope = node.get('_scope_') or scope or (current.scope_name if current else None)
    # Not by a switch of scopes, which warns of one that is not there: the checks say so better.
    names = [kind] if '.' in kind or not scope else [f'{scope}.{kind}', kind]
    for name in names:
        # A scope, or a module of it, that cannot be imported.
        with contextlib.suppress(*BUILD_ERRORS):
            found = registry.get(name)
            if found is not None:
                return found
    return None


def builds(
    node: Any, registry: Registry, package: str, *names: str, scope: str | None = None
) -> bool:
    """Whether MMEngine would build one of these classes of a package of a part of a config.

    A class of somebody else's with the same name is none of them, whether it has a scope of its
    own or is registered in the place of the package's.

    Args:
        node (dict): Part of a config.
        registry (Registry): MMEngine's root registry of such things.
        package (str): In which the class is written, such as ``'mmdet'``.
        *names (str): Without a scope.
        scope (str | None): The default scope. Defaults to the one that is in force.

    Returns:
        bool: By what is written, see :func:`is_type`, where nothing is registered.
    """
    if type_name(node) not in names:
        return False
    found = class_of(node, registry, scope)
    if found is None:
        return is_type(node, package, *names)
    return getattr(found, '__module__', '').partition('.')[0] == package
