"""What was tried: the stored results, and the page of them."""

import json
from collections import Counter
from pathlib import Path

from btkd_det.checkpoint.writing import write_text
from btkd_det.errors import ConfigError

PRESETS = ('feature', 'kd', 'btkd')
#: What is found of a config, in the order in which it is tried.
COLUMNS = ('host', 'off', *PRESETS)
#: The first word of a column that a trial did not come to.
UNFINISHED = 'unfinished'

Found = dict[str, str | int]
Results = dict[str, Found]


def read_results(path: Path, field: str = 'results') -> Results:
    """What was tried so far, by config.

    Args:
        path (Path): A file of results; where there is none, nothing was tried.
        field (str): Where it comes from, for the error message.

    Returns:
        dict: By config.

    Raises:
        ConfigError: The file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        results = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConfigError(f'{field}: {path} is no JSON: {error}') from None
    if not isinstance(results, dict) or not all(
        isinstance(found, dict) and 'host' in found for found in results.values()
    ):
        raise ConfigError(f'{field}: {path} does not hold results of the zoos, by config')
    return results


def write_results(results: Results, path: Path) -> None:
    """Write the results, to be read by :func:`read_results`."""
    write_text(path, json.dumps(results, indent=1, sort_keys=True) + '\n')


def merge(results: Results, others: Results) -> int:
    """Take over what others found; a finished trial is not replaced by an unfinished one.

    Args:
        results (dict): By config; changed in place.
        others (dict): By config.

    Returns:
        int: How many were taken over.
    """
    taken = {
        name: found
        for name, found in others.items()
        if name not in results or not unfinished(found) or unfinished(results[name])
    }
    results.update(taken)
    return len(taken)


def unfinished(found: Found) -> bool:
    """Whether a trial was ended before it came to every column."""
    return any(str(found.get(column)).startswith(UNFINISHED) for column in COLUMNS)


def left(names: list[str], results: Results, limit: float) -> list[str]:
    """What is to be tried: what was not, or was ended by a shorter limit than this.

    Args:
        names (list[str]): Of configs.
        results (dict): By config.
        limit (float): Seconds that a trial may take.

    Returns:
        list[str]: Of ``names``.
    """
    return [
        name
        for name in names
        if name not in results
        or (unfinished(results[name]) and limit > float(results[name].get('limit', 0)))
    ]


def counts(results: Results, column: str) -> Counter:
    """How many configs say what, by the first word."""
    return Counter(str(found.get(column, '-')).partition(':')[0] for found in results.values())


def page(results: Results) -> str:
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
        f'plain model takes a step in {len(working)} of them. A trial that took too long is '
        'unfinished: what it came to stands.',
        '',
        '| | works | refused | fault | unfinished |',
        '|---|---|---|---|---|',
    ]
    words = ('works', 'refused', 'fault', UNFINISHED)
    for column in COLUMNS[1:]:
        found = counts(working, column)
        label = 'distilled, off' if column == 'off' else f'`{column}`'
        lines.append(f'| {label} | {" | ".join(str(found[word]) for word in words)} |')
    lines += [
        '',
        f'| {" | ".join(["config", "plain", *COLUMNS[1:]])} |',
        '|---|---|---|---|---|---|',
    ]
    reasons: list[str] = []
    for name, of_one in sorted(results.items()):
        cells = [_cell(str(of_one.get(column, '-')), reasons) for column in COLUMNS]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    if reasons:
        lines += ['', '## Reasons', '']
        lines += [f'{i}. {_escaped(reason)}' for i, reason in enumerate(reasons, 1)]
    return '\n'.join(lines) + '\n'


def _cell(text: str, reasons: list[str]) -> str:
    """The first word of a finding, and the number of its reason, which is added to the others."""
    word, _, reason = text.partition(': ')
    if not reason:
        return word
    if reason not in reasons:
        reasons.append(reason)
    return f'{word} [{reasons.index(reason) + 1}](#reasons)'


def _escaped(text: str) -> str:
    return text.replace('|', '\\|').replace('<', '&lt;').replace('[', '\\[')
