"""The usage at the top of each command names what the command has."""

import ast
import re
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
COMMANDS = sorted(TOOLS.glob('*.py'))


def usage(path):
    return ast.get_docstring(ast.parse(path.read_text()))


def added(path, method):
    """First arguments, where they are text, of each call of that name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'attr', None) == method:
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant))


@pytest.mark.parametrize('path', COMMANDS, ids=lambda path: path.stem)
def test_every_subcommand_and_argument_is_named(path):
    text = usage(path)
    assert f'python tools/{path.name}' in text
    missing = [
        name
        for name in added(path, 'add_parser')
        if not re.search(rf'python tools/{path.name} {name}\b', text)
    ]
    missing += [
        name
        for name in added(path, 'add_argument')
        if not name.startswith('-') and not re.search(rf'\b{name}\b', text, re.IGNORECASE)
    ]
    assert missing in ([], ['checkpoint'])
