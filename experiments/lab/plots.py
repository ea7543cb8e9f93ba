"""A study's pictures: what an arm gains as its teacher gets worse, and every arm's interval."""

import dataclasses

from .comparisons import differences, samples
from .page import title_of
from .study import Run

DPI = 110


def picture_data(study, results):
    """All that the pictures of a study show.

    Args:
        study (Study): The study.
        results (Results): Its files.

    Returns:
        dict: In JSON's types: ``gains``, the differences of all but parts to the student alone,
        and ``errors``, the teachers' error rates in percent by cell; of a detector without RoIs
        what its AP lacks of 100, and ``errors_are`` says so.
    """
    alone = study.references.get('alone')
    found = differences(study, samples(study, results))
    shown = [d for d in found if d.other == alone and not study.is_part(d.arm)]
    gains = [_rounded(dataclasses.asdict(d)) for d in shown]
    teachers = {cell: results.read(Run(cell)) for cell in study.cells}
    errors = {
        cell: round(teacher.get('error', 100 - teacher['test'][study.metric]), 4)
        for cell, teacher in teachers.items()
        if teacher
    }
    data = dict(metric=study.metric, gains=gains, errors=errors)
    if study.kind == 'detection' and any('error' not in part for part in teachers.values() if part):
        data['errors_are'] = f"100 less the teacher's {study.metric} on the test images"
    return data


def draw(study, data, folder):
    """Draw the pictures of a study.

    Args:
        study (Study): The study.
        data (dict): See :func:`picture_data`.
        folder (Path): For ``<study>_gain.png`` and ``<study>_arms.png``.

    Returns:
        list[Path]: What was written.
    """
    paths = [folder / name for name in picture_names(study)]
    figures = [_gain(study, data), _arms(study, data)]
    for path, figure in zip(paths, figures, strict=True):
        figure.savefig(path, dpi=DPI, metadata={'Software': None})
    return paths


def picture_names(study):
    """list[str]: The files of :func:`draw`."""
    return [f'{study.name}_gain.png', f'{study.name}_arms.png']


def _gain(study, data):
    """Gain over the student alone against the teacher's error rate, a line for each arm.

    Cells whose student learns from other data than the rest have a line of their own. What has one
    seed, and so no interval, is in the tables alone.
    """
    known = [gain for gain in data['gains'] if gain['interval']]
    figure, axes = _figure(7, 4.5)
    axes.axhline(0, color='black', linewidth=0.8)
    dashed = False
    for number, arm in enumerate(dict.fromkeys(gain['arm'] for gain in known)):
        label = title_of(study.arms, arm)
        for spoiled, style in ((False, '-'), (True, '--')):
            points = [
                (data['errors'][gain['cell']], gain['mean'], _half(gain))
                for gain in known
                if gain['arm'] == arm
                and gain['cell'] in data['errors']
                and bool(study.cells[gain['cell']].get('student')) == spoiled
            ]
            if points:
                x, y, half = zip(*sorted(points), strict=True)
                bar = dict(marker='o', capsize=3, linewidth=1.2, color=f'C{number % 10}')
                line = axes.errorbar(x, y, yerr=half, label=label, **bar)
                line.lines[0].set_linestyle(style)
                label, dashed = None, dashed or spoiled
    if dashed:
        axes.plot([], [], '--', color='gray', label="the student's own data differ, too")
    axes.set_xlabel(data.get('errors_are', "the teacher's error rate on the test images, %"))
    axes.set_ylabel(f'{data["metric"]} over the student alone')
    if known:
        axes.legend(fontsize=8)
    return figure


def _arms(study, data):
    """Every arm's gain with its 95 % interval, cell by cell, where there is one."""
    known = [gain for gain in data['gains'] if gain['interval']]
    cells = list(dict.fromkeys(gain['cell'] for gain in known))
    arms = list(dict.fromkeys(gain['arm'] for gain in known))
    figure, axes = _figure(8, 1.2 + 0.22 * max(len(cells) * (len(arms) + 1), 8))
    axes.axvline(0, color='black', linewidth=0.8)
    place, ticks, names = 0, [], []
    for cell in cells:
        ticks.append(place)
        names.append(f'{title_of(study.cells, cell)}:')
        place += 1
        for number, arm in enumerate(arms):
            for gain in known:
                if (gain['cell'], gain['arm']) == (cell, arm):
                    bar = dict(xerr=_half(gain), marker='o', capsize=3, color=f'C{number % 10}')
                    axes.errorbar(gain['mean'], place, **bar)
                    ticks.append(place)
                    names.append(title_of(study.arms, arm))
                    place += 1
    axes.set_yticks(ticks, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f'{data["metric"]} over the student alone, 95 % interval (not corrected)')
    return figure


def _figure(width, height):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    return figure, figure.add_subplot()


def _half(gain):
    low, high = gain['interval'] or (0.0, 0.0)
    return (high - low) / 2


def _rounded(values):
    rounded = lambda value: round(value, 6) if isinstance(value, float) else value
    return {
        key: list(map(rounded, value)) if isinstance(value, tuple) else rounded(value)
        for key, value in values.items()
    }
