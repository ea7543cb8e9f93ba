"""What a study's result file says, as a table, and what of it is more than chance."""

import math
import statistics
from pathlib import Path

from ..errors import ConfigError
from ..recipes import METHODS

#: A method to the one that it changes.
HOSTS = {
    'btkd-kd': 'kd',
    'btkd-dkd': 'dkd',
    'ikd-kd': 'kd',
    'ikd-dkd': 'dkd',
    'ikd-nkd': 'nkd',
    'ikd-wttm': 'wttm',
    'btkd-ikd': 'kd',
}
ALONE = 'student'
# Of all comparisons together, so that a difference that is called one is one.
LEVEL = 0.05
MARKS = '<!-- Written by tools/study.py --table. -->', '<!-- End of the table. -->'


def values(results, key='top1'):
    """A number of every finished run, by method.

    Args:
        results (dict): The content of a result file.
        key (str): Of a run's entry.

    Returns:
        dict[str, list[float]]: In the order of ``METHODS``; methods without a run are left out.
    """
    runs = results['runs'].values()
    found = {m: [run[key] for run in runs if run['method'] == m] for m in METHODS}
    return {method: numbers for method, numbers in found.items() if numbers}


def comparisons(methods):
    """What a study compares: each method with the student alone, and each with its host.

    Args:
        methods (Collection[str]): Keys of ``METHODS`` that have runs.

    Returns:
        list[tuple[str, str]]: A method and what it is held against.
    """
    pairs = [(method, ALONE) for method in methods if method != ALONE and ALONE in methods]
    return pairs + [(method, HOSTS[method]) for method in methods if HOSTS.get(method) in methods]


def least_difference(by_method):
    """The difference of two means from which on it is more than chance between seeds.

    A two-sided t-test at 5 % for all comparisons together (Bonferroni), with one variance for all
    methods, pooled over them, because three seeds of one method tell too little.

    Args:
        by_method (dict[str, list[float]]): See :func:`values`.

    Returns:
        tuple[float, float, int]: The least difference, infinite where no method has two runs;
        the pooled standard deviation; the degrees of freedom.
    """
    freedom = sum(len(numbers) - 1 for numbers in by_method.values())
    count = len(comparisons(by_method))
    if not freedom or not count:
        return math.inf, math.nan, freedom
    squares = sum(
        (len(numbers) - 1) * statistics.variance(numbers)
        for numbers in by_method.values()
        if len(numbers) > 1
    )
    deviation = math.sqrt(squares / freedom)
    fewest = min(map(len, by_method.values()))
    from scipy.stats import t

    critical = float(t.ppf(1 - LEVEL / count / 2, freedom))
    return critical * deviation * math.sqrt(2 / fewest), deviation, freedom


def markdown(results):
    """The table, and what of it is more than chance, in Markdown.

    Args:
        results (dict): The content of a result file.

    Returns:
        str: Without a blank line at the end.
    """
    by_method = values(results)
    least, deviation, freedom = least_difference(by_method)
    lines = [
        '| method | runs | top-1 | over alone | over its host | beyond the teacher |',
        '|---|---|---|---|---|---|',
        f'| teacher | 1 | {results["teacher"]["metrics"]["top1"]:.1f} | | | |',
    ]
    beyond = values(results, 'teacher/beyond_share')
    for method, numbers in by_method.items():
        host = HOSTS.get(method)
        cells = [
            METHODS[method].title,
            str(len(numbers)),
            _mean(numbers),
            _difference(by_method, method, ALONE, least),
            _difference(by_method, method, host, least),
            _mean(beyond[method]),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join([*lines, '', *_findings(by_method, least, deviation, freedom)])


def write_table(results, page):
    """Put the table between its marks in a page.

    Args:
        results (dict): The content of a result file.
        page (str | Path): A Markdown file that has :data:`MARKS`.

    Raises:
        ConfigError: The page has no such marks.
    """
    page = Path(page)
    text = page.read_text(encoding='utf-8') if page.is_file() else ''
    start, end = (text.find(mark) for mark in MARKS)
    if not 0 <= start < end:
        raise ConfigError(
            f'--table: {page} has no lines {MARKS[0]!r} and {MARKS[1]!r}, in this order'
        )
    start += len(MARKS[0])
    page.write_text(f'{text[:start]}\n\n{markdown(results)}\n\n{text[end:]}', encoding='utf-8')


def _mean(numbers):
    """``61.2 ± 0.4``; one run has no deviation."""
    mean = f'{statistics.mean(numbers):.1f}'
    return mean if len(numbers) < 2 else f'{mean} ± {statistics.stdev(numbers):.1f}'


def _difference(by_method, method, other, least):
    """``+1.3``, in bold where it is more than chance; nothing where there is nothing to compare."""
    if other not in by_method or other == method:
        return ''
    value = statistics.mean(by_method[method]) - statistics.mean(by_method[other])
    # Not "-0.0".
    text = f'{round(value, 1) + 0.0:+.1f}'
    return f'**{text}**' if abs(value) >= least else text


def _findings(by_method, least, deviation, freedom):
    if math.isinf(least):
        return ['One run of each says nothing of chance: no difference can be told from it.']
    count = len(comparisons(by_method))
    lines = [
        f'Bold: a difference of at least {least:.1f} points, the least that is more than chance',
        f'between seeds (standard deviation {deviation:.2f} points, pooled over the methods, '
        f'{freedom} degrees of',
        f'freedom; two-sided t-test at {LEVEL:.0%} for all {count} comparisons together).',
    ]
    for title, pairs in (
        ('the student alone', [(m, o) for m, o in comparisons(by_method) if o == ALONE]),
        ('its host', [(m, o) for m, o in comparisons(by_method) if o != ALONE]),
    ):
        if not pairs:
            continue
        sides = {'above': [], 'below': [], 'not to be told from': []}
        for method, other in pairs:
            gap = statistics.mean(by_method[method]) - statistics.mean(by_method[other])
            side = 'above' if gap >= least else 'below' if gap <= -least else 'not to be told from'
            sides[side].append(METHODS[method].title)
        said = '; '.join(f'{side} {title}: {", ".join(of) or "none"}' for side, of in sides.items())
        lines += ['', f'{said[0].upper()}{said[1:]}.']
    return lines
