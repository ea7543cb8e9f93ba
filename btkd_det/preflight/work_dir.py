"""Whether a work dir is free for a run, or holds another one."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config.reading import type_name
from ..errors import ConfigError


def check_work_dir(cfg: Config) -> None:
    """Refuse a folder that holds the run of another model, which this one would overwrite.

    Another model is one of other types (the distilled class of a plain one, another preset's
    losses), or with another backbone. A run with other values is the same experiment to MMEngine.

    Args:
        cfg (Config): The whole config; ``resume`` would go on with what is there.

    Raises:
        ConfigError: Checkpoints are there, and every config beside them is of another model.
    """
    folder = Path(cfg.get('work_dir') or '')
    if not cfg.get('work_dir') or not folder.is_dir() or not any(folder.glob('*.pth')):
        return
    found = {}
    for path in sorted(folder.glob('*.py')):
        saved = read_dump(path)
        if saved is not None:
            found[path.name] = saved['model']
    own = _signature(cfg.model)
    if not found or any(_signature(model) == own for model in found.values()):
        return
    name, model = next(iter(found.items()))
    raise ConfigError(
        f'--work-dir: {folder} holds the run of {name}, a {_described(model)}, and this is a '
        f'{_described(cfg.model)}; valid: another folder, or one without checkpoints'
    )


def read_dump(path: Path) -> dict[str, Any] | None:
    """A config as MMEngine writes it into a work dir, read without executing it.

    Args:
        path (Path): The file.

    Returns:
        dict | None: Name to value; ``None`` where the file holds anything but plain values, or
        no model.
    """
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'))
        values = {}
        for node in tree.body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                return None
            values[node.targets[0].id] = _value(node.value)
    except (ValueError, SyntaxError, OSError):
        return None
    return values if isinstance(values.get('model'), dict) else None


def _value(node: Any) -> Any:
    """The value of an expression of ``dict(...)`` and literals; ValueError for any other."""
    if isinstance(node, ast.Call):
        plain = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        # Keys that are no names stand in braces: dict({'a.b': 1}).
        braces = all(isinstance(part, ast.Dict) for part in node.args) and len(node.args) < 2
        if not plain or not braces or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError('no plain value')
        values = _value(node.args[0]) if node.args else {}
        return values | {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)


def _signature(model: Any) -> tuple:
    """What tells models apart: every type in it, and its backbone."""
    types = dict(_types({key: part for key, part in model.items() if key != 'teacher'}))
    return types, _plain(model.get('backbone'))


def _types(node: Any, place: str = '') -> Iterator[Any]:
    if isinstance(node, dict):
        if 'type' in node:
            yield place, type_name(node)
        for key, value in node.items():
            yield from _types(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _types(value, f'{place}[{i}]')


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, (list, tuple)) else node


def _described(model: Any) -> Any:
    losses = [name for place, name in _types(model.get('distill') or {}, 'distill')]
    return type_name(model) + (f' with {", ".join(losses)}' if losses else '')
