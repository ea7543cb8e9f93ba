"""Train on every bad input of the list: what is not one clear line is counted.

    python -m tests.robustness.bad_inputs [WORDS ...] [--show]

With words, only the cases whose name has one of them.
"""

import argparse
import collections
import sys
import tempfile
from pathlib import Path

from . import cases_annotations, cases_config, cases_images  # noqa: F401
from .cases import ALL, Case
from .place import Place
from .trial import Outcome, attempt, prepare


def run(case: Case) -> Outcome:
    """Train on one case's input, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        case.spoil(place)
        return attempt(place.write(), place.folder, place.env)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('words', nargs='*')
    parser.add_argument('--show', action='store_true', help='the last line of every case')
    parser.add_argument('--part', default='0/1', help='every N-th case from K: K/N')
    args = parser.parse_args()
    first, step = map(int, args.part.split('/'))
    chosen = [c for c in ALL if not args.words or any(w in c.name for w in args.words)]
    prepare()
    verdicts, faults = collections.Counter(), 0
    for case in chosen[first::step]:
        outcome = run(case)
        fault = case.fault(outcome)
        verdicts[outcome.verdict] += 1
        faults += fault is not None
        if fault or args.show:
            print(f'{fault or "ok"} | {case.name} | {case.expected} {case.words}', flush=True)
            print(f'    {outcome.seconds:.1f} s  {outcome.last[:300]}', flush=True)
    print(
        f'{sum(verdicts.values())} inputs: {verdicts["refused"]} refused in one line, '
        f'{verdicts["trained"]} trained, {verdicts["traceback"]} tracebacks, '
        f'{verdicts["late"]} late errors, {verdicts["unclear"]} unclear; {faults} not as expected'
    )
    return int(faults > 0)


if __name__ == '__main__':
    sys.exit(main())
