"""What ``import btkd_det`` costs beyond the packages that it imports."""

import statistics
import subprocess
import sys
import time

from .measure import environment, show_progress, summary

# In a process of its own: the packages that btkd_det imports, with the stand-in ops in place
# where MMCV has none, but nothing else of btkd_det.
BASELINE = """
import importlib.util, sys, types
root = importlib.util.find_spec('btkd_det').submodule_search_locations
sys.modules['btkd_det'] = package = types.ModuleType('btkd_det')
package.__path__ = list(root)
from btkd_det.compat import torchvision_ops
torchvision_ops.install()
import {modules}
"""

LIST = """
import sys, btkd_det
mine = {'torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'pycocotools'}
print(*(n for n in sorted(sys.modules) if n.partition('.')[0] in mine and 'btkd' not in n))
"""


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--rounds', type=int, default=5)


def run(rounds=5):
    """Time both imports in turn, each in a fresh process.

    Args:
        rounds (int): Counted processes of each.

    Returns:
        dict: ``environment``, ``seconds`` and ``added_seconds`` (of medians).
    """
    listed = subprocess.run(
        [sys.executable, '-c', LIST], capture_output=True, text=True, check=True
    ).stdout.split()
    modules = [name for name in listed if _public_package(name)]
    programs = {
        'what it imports': BASELINE.format(modules=', '.join(modules)),
        'import btkd_det': 'import btkd_det',
    }
    seconds = {name: [] for name in programs}
    for number in range(-1, rounds):
        show_progress(number + 1, rounds + 1, ', '.join(programs))
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, '-c', program], capture_output=True, check=True)
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return dict(
        environment=environment(),
        seconds={name: summary(values) for name, values in seconds.items()},
        added_seconds=round(median['import btkd_det'] - median['what it imports'], 3),
    )


def _public_package(name):
    """Packages that btkd_det's own files import; the rest comes with them."""
    return name in {
        'torch',
        'torchvision',
        'numpy',
        'mmengine',
        'mmengine.runner',
        'mmengine.hub',
        'mmengine.hooks',
        'mmdet.models',
        'mmdet.evaluation',
        'mmdet.datasets',
        'pycocotools.cocoeval',
    }
