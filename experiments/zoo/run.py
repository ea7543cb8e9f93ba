"""Try every kind of config of both zoos and write docs/zoo.md; goes on where it stopped.

python -m experiments.zoo.run [--zoo mmdet] [--only TEXT] [--limit N] [--again]
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from btkd_det.checkpoint.writing import write_text

from .kinds import ZOOS, kinds
from .trial import PRESETS

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name('results.json')
PAGE = ROOT / 'docs' / 'zoo.md'
#: Seconds that one config may take.
LIMIT = 600


def run_one(name: str) -> dict[str, str]:
    """The trial of a config in a process of its own.

    Args:
        name (str): The config.

    Returns:
        dict: See :func:`experiments.zoo.trial.trial`.
    """
    command = [sys.executable, '-m', 'experiments.zoo.trial', name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return dict(host=f'fails: took more than {LIMIT} s')
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ['no output'])[-1]
        return dict(host=f'fails: {reason[:300]}')
    return json.loads(lines[-1])


def stored() -> dict[str, dict[str, str]]:
    """What was tried so far, by config."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def counts(results: dict[str, dict[str, str]], column: str) -> Counter:
    """How many configs say what, by the first word."""
    return Counter(found.get(column, '-').partition(':')[0] for found in results.values())


def page(results: dict[str, dict[str, str]]) -> str:
    """The table as a page.

    Args:
        results (dict): By config.

    Returns:
        str: Markdown.
    """
    working = {name: found for name, found in results.items() if found['host'] == 'works'}
    lines = [
        '# The zoos, one config of each kind',
        '',
        '`make test-zoo` takes one config of each folder, model and backbone of MMDetection and '
        'MMPretrain, with ResNets of 50 layers at most and two small images, beside a teacher of '
        'the same config: plain against distilled-but-off, and a step of each preset. It is run '
        f'by hand and goes on where it stopped. So far {len(results)} configs were tried; the '
        f'plain model takes a step in {len(working)} of them.',
        '',
        '| | works | refused | fault |',
        '|---|---|---|---|',
    ]
    for column in ('off', *PRESETS):
        found = counts(working, column)
        label = 'distilled, off' if column == 'off' else f'`{column}`'
        lines.append(f'| {label} | {found["works"]} | {found["refused"]} | {found["fault"]} |')
    columns = ' | '.join(['config', 'plain', 'off', *PRESETS])
    lines += ['', f'| {columns} |', '|---|---|---|---|---|---|']
    reasons = []
    for name, found in sorted(results.items()):
        cells = []
        for column in ('host', 'off', *PRESETS):
            word, _, reason = found.get(column, '-').partition(': ')
            if reason and reason not in reasons:
                reasons.append(reason)
            cells.append(f'{word} [{reasons.index(reason) + 1}](#reasons)' if reason else word)
        lines.append(f'| {name} | {" | ".join(cells)} |')
    lines += ['', '## Reasons', '']
    lines += [f'{i}. {_escaped(reason)}' for i, reason in enumerate(reasons, 1)]
    return '\n'.join(lines) + '\n'


def _escaped(text: str) -> str:
    return text.replace('|', '\\|').replace('<', '&lt;').replace('[', '\\[')


def main() -> None:
    parser = argparse.ArgumentParser(description='Distill a step of each kind of config.')
    parser.add_argument('--zoo', choices=ZOOS, help='default: both')
    parser.add_argument('--only', metavar='TEXT', default='', help='folders with this in the name')
    parser.add_argument('--limit', type=int, help='how many to try at most')
    parser.add_argument('--again', action='store_true', help='those that were tried, too')
    args = parser.parse_args()
    results = stored()
    tried = 0
    for zoo in [args.zoo] if args.zoo else ZOOS:
        for name in kinds(zoo, args.only):
            if name in results and not args.again:
                continue
            if args.limit is not None and tried >= args.limit:
                break
            started = time.time()
            results[name] = run_one(name)
            tried += 1
            write_text(RESULTS, json.dumps(results, indent=1, sort_keys=True) + '\n')
            write_text(PAGE, page(results))
            words = ' '.join(f'{key}={value}' for key, value in results[name].items())
            print(f'{name} ({time.time() - started:.0f} s): {words}', flush=True)
    write_text(PAGE, page(results))
    faults = [
        name for name, found in results.items() if any('fault' in str(v) for v in found.values())
    ]
    print(f'{tried} tried now, {len(results)} in all, {len(faults)} with a fault')
    sys.exit(1 if faults else 0)


if __name__ == '__main__':
    main()
