"""What the code imports is declared: nobody else brings it by chance."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Modules whose distribution has another name, or that others bring as a part of themselves.
DISTRIBUTIONS = {'PIL': 'pillow', 'cv2': 'mmcv', 'yaml': 'pyyaml'}
#: Of either distribution, as the extras name them.
HOSTS = {'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmrazor', 'pycocotools', 'faster_coco_eval'}
OURS = {'btkd_det', 'experiments', 'tests', 'tools'}


def declared(*names):
    lines = [
        line
        for name in names
        for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    ]
    return {re.split(r'[^\w-]', line)[0] for line in lines if line and not line.startswith('#')}


def imported(*folders):
    """Distribution to a file that imports it."""
    found = {}
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            for name in (module.partition('.')[0] for module in modules):
                if name not in OURS and name not in sys.stdlib_module_names:
                    found.setdefault(DISTRIBUTIONS.get(name, name), path.relative_to(ROOT))
    return found


@pytest.mark.parametrize(
    ('folders', 'files'),
    [
        (['btkd_det', 'tools'], ['core']),
        (['btkd_det', 'tools', 'experiments', 'tests'], ['core', 'dev']),
    ],
    ids=['the package', 'the checkout'],
)
def test_every_import_is_declared(folders, files):
    allowed = declared(*files) | HOSTS
    undeclared = {name: str(path) for name, path in imported(*folders).items()}
    assert not {name: path for name, path in undeclared.items() if name not in allowed}
