"""Write the tables and pictures of studies from their results alone.

    python experiments/tables.py experiments/studies/*.py
    python experiments/tables.py experiments/studies/*.py --check

The tables go between the marks of docs/results.md, the pictures and the numbers that they show
into docs/pictures/.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# In the place of this folder: the package beside it, whatever is installed.
sys.path[0] = str(ROOT)

from btkd_det.errors import ConfigError  # noqa: E402
from experiments.lab import page, plots  # noqa: E402
from experiments.lab.results import Results, write_json  # noqa: E402
from experiments.lab.study import read_study  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('studies', nargs='+', metavar='STUDY', help='files of experiments/studies/')
    parser.add_argument(
        '--results', default=ROOT / 'experiments' / 'results', help='default: %(default)s'
    )
    parser.add_argument('--docs', type=Path, default=ROOT / 'docs', help='default: %(default)s')
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; exit 1 where the page or the pictures are not those of the results',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        stale = [name for path in args.studies for name in update(path, args)]
    except ConfigError as error:
        sys.exit(f'error: {error}')
    if args.check and stale:
        sys.exit(f'stale: {", ".join(stale)}; python experiments/tables.py writes them anew')
    for name in stale:
        print(f'Written: {name}')


def update(path, args):
    """Bring page and pictures of a study up to date, or with ``--check`` only look.

    Args:
        path (str): Of the study file.
        args (Namespace): The command's arguments.

    Returns:
        list[str]: What was stale.
    """
    study = read_study(path)
    results = Results(study, args.results)
    stale = []
    places = [(args.docs / 'results.md', page.marks(study), page.markdown(study, results))]
    readme = args.docs.parent / 'README.md'
    if readme.is_file() and page.gain_marks(study)[0] in readme.read_text(encoding='utf-8'):
        places.append((readme, page.gain_marks(study), page.gains(study, results)))
    for target, between, tables in places:
        text = target.read_text(encoding='utf-8') if target.is_file() else ''
        new = page.write_between(text, between, tables)
        if new != text:
            stale.append(f'{study.name} in {target}')
            if not args.check:
                target.write_text(new, encoding='utf-8')
    if update_pictures(study, results, args):
        stale.append(f'pictures of {study.name}')
    return stale


def update_pictures(study, results, args):
    """As :func:`update`, of the pictures; a study without results has none."""
    data = plots.picture_data(study, results)
    if not data['gains']:
        return False
    folder = args.docs / 'pictures'
    source = folder / f'{study.name}.json'
    drawn = all((folder / name).is_file() for name in plots.picture_names(study))
    known = json.loads(source.read_text(encoding='utf-8')) if source.is_file() else None
    if drawn and known == data:
        return False
    if not args.check:
        folder.mkdir(parents=True, exist_ok=True)
        plots.draw(study, data, folder)
        write_json(source, data)
    return True


if __name__ == '__main__':
    main()
