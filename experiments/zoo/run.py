"""Try every kind of config of both zoos and write docs/zoo.md; goes on where it stopped.

python -m experiments.zoo.run [--zoo mmdet] [--workers N] [--minutes M] [--shard K/N] [--out DIR]
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

# A trial is one process among several, on the CPU wherever it runs; before torch is imported.
os.environ.update(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')

from btkd_det.errors import ConfigError
from experiments.subprocesses import terminated_as_interrupted

from .kinds import ZOOS, is_large, kinds
from .table import COLUMNS, Results, counts, left, merge, page, read_results, write_results
from .trials import run_trials

ROOT = Path(__file__).parents[2]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Distill a step of each kind of config.')
    parser.add_argument('--zoo', choices=ZOOS, help='default: both')
    parser.add_argument('--only', metavar='TEXT', default='', help='folders with this in the name')
    parser.add_argument('--limit', type=int, metavar='N', help='how many to try at most')
    parser.add_argument('--again', action='store_true', help='those that were tried, too')
    parser.add_argument(
        '--workers', type=int, default=1, metavar='N', help='processes (default: %(default)s)'
    )
    parser.add_argument('--minutes', type=float, metavar='M', help='begin no trial after these')
    parser.add_argument(
        '--limit-seconds',
        type=float,
        default=600,
        metavar='S',
        help='end a trial after these; a longer limit tries it again (default: %(default)s)',
    )
    parser.add_argument(
        '--shard', type=_shard, default=(1, 1), metavar='K/N', help='the Kth of N parts'
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='of results.json and zoo.md (default: this checkout)',
    )
    parser.add_argument(
        '--merge', type=Path, nargs='+', metavar='FILE', help='only take over results of elsewhere'
    )
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f'--workers: {args.workers}; valid: 1 or more')
    return args


def _shard(text: str) -> tuple[int, int]:
    """``'2/5'`` as numbers."""
    try:
        part, parts = map(int, text.split('/'))
    except ValueError:
        part, parts = 0, 0
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f'{text}; valid: such as 2/5, the second of five')
    return part, parts


def wanted(args: argparse.Namespace, results: Results) -> list[str]:
    """What is to be tried; imports what the trials need, so that each has it."""
    names: list[str] = []
    for zoo in [args.zoo] if args.zoo else ZOOS:
        try:
            importlib.import_module(f'{zoo}.models')
        except Exception as error:  # it may lack whatever it imports
            print(f'{zoo} is left out: {type(error).__name__}: {error}', flush=True)
            continue
        names += kinds(zoo, args.only, args.workers)
    part, parts = args.shard
    # The quick ones first: what a short time leaves out are the few that take long.
    names = sorted(names, key=is_large)[part - 1 :: parts]
    names = names if args.again else left(names, results, args.limit_seconds)
    return names[: args.limit]


def run(args: argparse.Namespace, results_file: Path, page_file: Path) -> Results:
    """Try what is left; the files are written after each.

    Args:
        args (Namespace): See :func:`parse_args`.
        results_file (Path): The JSON file.
        page_file (Path): The page.

    Returns:
        dict: All results, by config.
    """
    # Not before the number of threads is set.
    from .trial import trial

    results = read_results(results_file)
    names = wanted(args, results)
    print(f'{len(names)} to try, {len(results)} tried before', flush=True)
    trials = run_trials(names, trial, args.workers, args.limit_seconds, args.minutes)
    for number, (name, found) in enumerate(trials, 1):
        results[name] = found
        write_results(results, results_file)
        page_file.write_text(page(results), encoding='utf-8')
        words = ' '.join(f'{key}={value}' for key, value in found.items())
        print(f'{number}/{len(names)} {name}: {words}', flush=True)
    return results


def main() -> None:
    args = parse_args()
    results_file = (args.out or Path(__file__).parent) / 'results.json'
    page_file = args.out / 'zoo.md' if args.out else ROOT / 'docs' / 'zoo.md'
    results_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        if args.merge:
            results = read_results(results_file)
            for path in args.merge:
                if not path.is_file():
                    raise ConfigError(f'--merge: no file {path}')
                taken = merge(results, read_results(path, '--merge'))
                print(f'{taken} of {path}')
            write_results(results, results_file)
        else:
            with terminated_as_interrupted():
                results = run(args, results_file, page_file)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print('\nStopped. What was tried is kept: the same command goes on from there.')
        sys.exit(130)
    page_file.write_text(page(results), encoding='utf-8')
    faults = sum(counts(results, column)['fault'] for column in COLUMNS)
    print(f'{len(results)} tried in all, {faults} faults')
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
