"""A study's tables in Markdown, and the page that holds them."""

from btkd_det.errors import ConfigError

from .comparisons import LEVEL, differences, samples
from .study import Run

COMMAND = 'experiments/tables.py'
ROLES = {'alone': 'over alone', 'kd': 'over KD'}


def marks(study):
    """tuple[str, str]: The lines in a page between which a study's tables stand."""
    return f'<!-- {study.name}: written by {COMMAND}. -->', f'<!-- {study.name}: end. -->'


def markdown(study, results):
    """All tables of a study.

    Args:
        study (Study): The study.
        results (Results): Its files.

    Returns:
        str: Without a blank line at the end.
    """
    by_arm = samples(study, results)
    if not by_arm:
        return 'No runs yet.'
    found = differences(study, by_arm)
    parts = [_introduction(study, by_arm, found)]
    parts += [_cell(study, cell, by_arm, found, results) for cell in study.cells]
    parts += [_tuning(study, results), _provenance(study, results)]
    return '\n\n'.join(part for part in parts if part)


def gain_marks(study):
    """tuple[str, str]: The lines of the README between which a study's gains stand."""
    return (
        f'<!-- {study.name} gains: written by {COMMAND}. -->',
        f'<!-- {study.name} gains: end. -->',
    )


def gains(study, results, arm='btkd'):
    """A short table: what KD and one arm gain, a row for each cell.

    Args:
        study (Study): With ``references`` to the student alone and to KD.
        results (Results): Its files.
        arm (str): Of the study; without it the table is KD's.

    Returns:
        str: Differences with their intervals, bold where they are more than chance.
    """
    alone, kd = study.references['alone'], study.references['kd']
    columns = {title_of(study.arms, kd): (kd, alone)}
    if arm in study.arms:
        title = title_of(study.arms, arm)
        columns.update({title: (arm, alone), f'{title} over {next(iter(columns))}': (arm, kd)})
    found = {(d.cell, d.arm, d.other): d for d in differences(study, samples(study, results))}
    lines = [f'| | {" | ".join(columns)} |', '|---' * (len(columns) + 1) + '|']
    for cell in study.cells:
        pairs = [found.get((cell, *pair)) for pair in columns.values()]
        if all(pairs):
            texts = [describe_difference(pair).partition(', p ')[0] for pair in pairs]
            texts = [text.removesuffix(', no difference found') for text in texts]
            lines.append(f'| {title_of(study.cells, cell)} | {" | ".join(texts)} |')
    return '\n'.join(lines)


def write_between(text, between, tables):
    """Put tables between two lines of a page.

    Args:
        text (str): Of the page.
        between (tuple[str, str]): See :func:`marks`.
        tables (str): See :func:`markdown`.

    Returns:
        str: The page.

    Raises:
        ConfigError: The page has no such lines, or not in this order.
    """
    first, last = between
    start, end = text.find(first), text.find(last)
    if not 0 <= start < end:
        raise ConfigError(
            f'the page: has no lines {first!r} and {last!r}, in this order; valid: a page '
            'that says where the tables of the study go'
        )
    return f'{text[: start + len(first)]}\n\n{tables}\n\n{text[end:]}'


def title_of(named, name):
    """str: The title of a cell or an arm, its name where it has none."""
    return named[name].get('title') or name


def describe_difference(difference):
    """A difference with its interval and what it says.

    Args:
        difference (Difference | None): Nothing where there is none.

    Returns:
        str: Such as ``+1.3 [+0.4, +2.2], p 0.01``; ``no difference found`` takes the place of
        p where the corrected interval covers 0.
    """
    if difference is None:
        return ''
    if difference.interval is None:
        return f'{_signed(difference.mean)} (chance not known)'
    low, high = difference.interval
    text = f'{_signed(difference.mean)} [{_signed(low)}, {_signed(high)}]'
    if difference.verdict == 'no difference found':
        return f'{text}, no difference found'
    p = difference.corrected_p
    return f'**{text}**, p {"< 0.001" if p < 0.001 else f"{p:.3f}"}'


def _introduction(study, by_arm, found):
    tested = [study.is_part(d.arm) for d in found if d.p is not None]
    parts = sum(tested)
    seeds = sorted({len(sample.by_seed) for sample in by_arm.values()})
    counts = f'{seeds[0]} to {seeds[-1]}' if len(seeds) > 1 else f'{seeds[0]}'
    return '\n'.join(
        [
            f'{study.metric} on the test images, mean ± standard deviation over the seeds '
            f'({counts} of {len(study.seeds)} done).',
            'Differences are paired by seed, with their 95 % t-interval. Bold: more than chance at '
            f'{LEVEL:.0%}, corrected',
            f'by Holm for all {len(tested) - parts} comparisons of the study'
            f'{f", parts apart for their {parts}" if parts else ""}; p is the corrected one.',
        ]
    )


def _cell(study, cell, by_arm, found, results):
    arms = [arm for arm in study.arms if (cell, arm) in by_arm]
    if not arms:
        return ''
    columns = _columns(study)
    lines = [
        f'**{_capital(title_of(study.cells, cell))}.** {_teacher(study, cell, results)}'.rstrip()
    ]
    head = ['arm', study.metric, 'seeds', *columns]
    lines += ['', f'| {" | ".join(head)} |', f'|{"---|" * len(head)}']
    by_pair = {(d.arm, d.other): d for d in found if d.cell == cell}
    for arm in arms:
        sample = by_arm[cell, arm]
        spread = '' if sample.deviation is None else f' ± {sample.deviation:.1f}'
        row = [title_of(study.arms, arm), f'{sample.mean:.1f}{spread}', str(len(sample.by_seed))]
        row += [describe_difference(by_pair.get((arm, other(arm)))) for other in columns.values()]
        lines.append(f'| {" | ".join(row)} |')
    return '\n'.join(lines)


def _columns(study):
    """Title of each column of differences, to what an arm is held against there."""
    columns = {
        title: lambda arm, other=study.references[role]: other
        for role, title in ROLES.items()
        if role in study.references
    }
    if any(arm.get('host') for arm in study.arms.values()):
        columns['over its host'] = lambda arm: study.arms[arm].get('host')
    if any(map(study.whole, study.arms)):
        columns['over the whole'] = study.whole
    return columns


def _teacher(study, cell, results):
    found = results.read(Run(cell))
    if not found:
        return ''
    text = f'Teacher: {found["test"][study.metric]:.1f} on the test images'
    right = found.get('right_on_training_images')
    if not right:
        return f'{text}.'
    own, clean = right['by_the_students_labels'], right['by_the_clean_labels']
    text += f'; right on {own:.1f} % of the training images'
    return (
        f'{text}.' if own == clean else f'{text} by their labels, {clean:.1f} % by the clean ones.'
    )


def _tuning(study, results):
    arms = [arm for arm in study.arms if study.is_tuned(arm)]
    rows = []
    for arm in arms:
        means = results.trial_means(arm)
        if means is None:
            continue
        chosen = means.index(max(means))
        for trial, mean in enumerate(means):
            changes = ', '.join(f'{k} {v}' for k, v in study.arms[arm]['trials'][trial].items())
            mark = 'chosen' if trial == chosen else ''
            rows.append(f'| {title_of(study.arms, arm)} | {changes} | {mean:.2f} | {mark} |')
    if not rows:
        return ''
    count = len(study.tuning['seeds']) * len(study.tuning['cells'])
    head = [
        f'**Tuning.** Every arm with a choice got {study.tuning["trials"]} trials, each the mean',
        f'of {count} runs on the validation images; their seeds are no others and no test image '
        'was read.',
        '',
        f'| arm | trial | {results.tuning_metric} | |',
        '|---|---|---|---|',
    ]
    return '\n'.join(head + rows)


def _provenance(study, results):
    runs = [results.read(run) for run in study.final_runs()]
    runs = [run for run in runs if run]
    commits = sorted({run['commit'] + (' (changed)' if run.get('dirty') else '') for run in runs})
    devices = sorted({run['machine']['device'] for run in runs})
    mixed = _mixed_teachers(runs)
    lines = [f'{len(runs)} runs at {", ".join(commits)} on {", ".join(devices)}.']
    if mixed:
        lines.append(f'More than one training of the teacher in: {", ".join(mixed)}.')
    if study.notes:
        lines.append(study.notes)
    return '\n'.join(lines)


def _mixed_teachers(runs):
    found = {}
    for run in runs:
        if run.get('teacher_sha256'):
            found.setdefault(run['cell'], set()).add(run['teacher_sha256'])
    return [cell for cell, digests in found.items() if len(digests) > 1]


def _signed(value):
    # Not "-0.0".
    return f'{round(value, 1) + 0.0:+.1f}'


def _capital(text):
    return text[:1].upper() + text[1:]
