"""How the package is laid out: small files and functions, imports that point down, plain names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'btkd_det'
FILES = sorted(path for path in PACKAGE.rglob('*.py') if '.mim' not in path.parts)
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 60
#: Words that deep-learning readers do not look for: the field says teacher_outputs, targets,
#: active_sites, valid_mask, record_rois.
NOT_OF_THE_FIELD = {
    *('said', 'say', 'says', 'told', 'speaking', 'speaks', 'silence', 'guest', 'guests'),
    *('ask', 'asks', 'asked', 'look', 'looks', 'recorded', 'shown'),
}
#: From the bottom up; a module imports from rows below its own and from its own unit.
LAYERS = (
    ('errors', 'hints'),
    ('checks',),
    (
        'bias',
        'checkpoint',
        'cpu_processes',
        'interrupts',
        'log_console',
        'lost_ranks',
        'progress',
        'registry',
        'work_dir_lock',
    ),
    ('compat', 'config', 'optim'),
    ('__main__', 'config_file', 'doctor', 'log_options', 'provenance'),
    ('losses', 'run_facts', 'teacher'),
    ('datasets', 'sites', 'teacher_cache'),
    # Reads the annotations as the data do.
    ('evaluation',),
    ('models',),
    ('preflight', 'recipes'),
    # What of the configs needs to know the data, and so what checks them.
    ('config.distilling',),
    ('from_mmrazor', 'report'),
    # What a runner calls draws and compares, too.
    ('hooks',),
    ('',),
)
#: The package of the configs offers what its highest module has.
UNITS = {'config': 'config.distilling', 'config.distilling': 'config.distilling'}


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


NAMES = {module_name(path): path for path in FILES}


def unit(module):
    return UNITS.get(module, module.partition('.')[0])


def imported(path):
    """Every module that a file imports, in functions too: ours without the package's name."""
    package = ['btkd_det', *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = '.'.join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                below = f'{start}.{alias.name}'
                yield below if below.removeprefix('btkd_det.') in NAMES else start


def ours(path):
    found = {name for name in imported(path) if f'{name}.'.startswith('btkd_det.')}
    found = {name.removeprefix('btkd_det').lstrip('.') for name in found}
    return found & NAMES.keys() - {module_name(path)}


def functions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def lines_of_code(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    documented = first.end_lineno - first.lineno + 1 if text else 0
    return function.end_lineno - function.lineno + 1 - documented


def identifiers(tree):
    for node in ast.walk(tree):
        for key in ('id', 'attr', 'arg', 'name', 'asname'):
            value = getattr(node, key, None)
            if isinstance(value, str):
                yield value


@pytest.mark.parametrize('path', FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_files_and_functions_are_small_and_named_in_the_fields_words(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    tree = ast.parse(text)
    long = {f.name: lines_of_code(f) for f in functions(tree)}
    assert {n: lines for n, lines in long.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}
    words = {name for name in identifiers(tree) if NOT_OF_THE_FIELD & {*name.lower().split('_')}}
    assert words == set()


def test_every_unit_has_a_layer():
    assert {unit(name) for name in NAMES} <= {name for row in LAYERS for name in row}


@pytest.mark.parametrize('name', NAMES)
def test_imports_point_down(name):
    row = {member: number for number, names in enumerate(LAYERS) for member in names}
    own = unit(name)
    up = {
        other for other in ours(NAMES[name]) if unit(other) != own and row[unit(other)] >= row[own]
    }
    assert up == set()


def test_no_module_imports_what_imports_it():
    below = {name: ours(path) for name, path in NAMES.items()}
    # A package's module is imported before any module in it.
    state = {}

    def visit(name, way):
        if state.get(name) == 'open':
            raise AssertionError(' -> '.join([*way[way.index(name) :], name]))
        if name not in state:
            state[name] = 'open'
            for other in sorted(below[name]):
                visit(other, [*way, name])
            state[name] = 'done'

    for name in below:
        visit(name, [])


def test_nothing_imports_the_laboratory_or_the_commands():
    for path in FILES:
        first = {name.partition('.')[0] for name in imported(path)}
        assert not first & {'experiments', 'tools', 'tests'}, path
