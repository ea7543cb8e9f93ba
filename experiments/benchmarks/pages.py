"""The tables of costs in README.md and docs/performance.md, from the files beside this one.

python -m experiments.benchmarks.pages [--check]
"""

import argparse
import sys
from pathlib import Path

from experiments.lab.page import write_between

from .cost_tables import TABLES, Files

ROOT = Path(__file__).parents[2]
#: Which table stands between the marks of which page.
PLACES = {
    'README.md': ('costs',),
    'docs/performance.md': (
        'machines',
        'steps',
        'memory',
        'losses',
        'dense',
        'teacher',
        'scale',
        'sent',
        'loading',
    ),
}


def marks(name):
    """The lines that a table stands between."""
    command = 'written by experiments/benchmarks/pages.py'
    return f'<!-- {name}: {command}. -->', f'<!-- {name}: end. -->'


def update(check, root=ROOT, files=None):
    """Bring the pages up to date, or only look.

    Args:
        check (bool): Write nothing.
        root (Path): Of the pages.
        files (Files, optional): The results; those beside this file by default.

    Returns:
        list[str]: Pages that were stale.
    """
    files = files or Files()
    stale = []
    for page, names in PLACES.items():
        text = new = (root / page).read_text(encoding='utf-8')
        for name in names:
            new = write_between(new, marks(name), TABLES[name](files, page))
        if new != text:
            stale.append(page)
            if not check:
                (root / page).write_text(new, encoding='utf-8')
    return stale


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 where stale')
    args = parser.parse_args()
    stale = update(args.check)
    if args.check and stale:
        sys.exit(f'stale: {", ".join(stale)}; python -m experiments.benchmarks.pages writes them')
    for page in stale:
        print(f'Written: {page}')


if __name__ == '__main__':
    main()
