"""Curves of a training as drawings that lie within a page and follow its colors."""

import io
import math
import statistics
from collections.abc import Sequence

from markupsafe import Markup

Points = Sequence[tuple[float, float]]
#: Distinct in light and in dark.
COLORS = ('#2f7ed8', '#e07b30', '#2a9d62', '#d24545', '#9467d0', '#b08d1e', '#1ba3b0', '#d05fa0')
#: More points than these are not to be seen, and make a page of megabytes.
MOST_POINTS = 300
#: What stands for the page's own color until the drawing is done.
INK = '#010203'


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """As many points at most, each the mean of its neighbors.

    Args:
        points (Sequence[tuple[float, float]]): In order.
        most (int): How many. Defaults to :data:`MOST_POINTS`.
    """
    width = math.ceil(len(points) / most) or 1
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [
        (statistics.fmean(x), statistics.fmean(y))
        for x, y in (zip(*g, strict=True) for g in groups)
    ]


def curves(
    lines: dict[str, Points],
    x: str,
    y: str = '',
    level: tuple[str, float] | None = None,
    shares: bool = False,
) -> Markup:
    """Draw curves.

    Args:
        lines (dict[str, Sequence[tuple[float, float]]]): Name to points. A value that is not
            finite is a gap.
        x (str): What the first number of a point is.
        y (str): What the second is. Defaults to nothing.
        level (tuple[str, float], optional): A name and a value for a dashed line.
        shares (bool): Whether all values are from 0 to 1. Else the first tenth of the training
            may lie above the drawing.

    Returns:
        Markup: An ``svg`` element, in the color of the text around it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Text as text, so that it has the page's font and can be searched.
    options = {'svg.fonttype': 'none', 'font.size': 9, 'font.family': 'sans-serif'}
    options |= {f'{part}.color': INK for part in ('text', 'xtick', 'ytick')}
    options |= {f'axes.{part}color': INK for part in ('edge', 'label')}
    with mpl.rc_context(options):
        figure = Figure(figsize=(4.6, 2.9), layout='constrained')
        axes = figure.add_subplot()
        for number, points in enumerate(lines.values()):
            marker = 'o' if len(points) < 30 else ''
            color = COLORS[number % len(COLORS)]
            dashes = ('-', '--', ':')[number // len(COLORS) % 3]
            drawn = list(zip(*thinned(points), strict=True))
            axes.plot(*drawn, dashes, marker=marker, color=color, markersize=3, linewidth=1.4)
        names = list(lines)
        if level is not None:
            axes.axhline(level[1], color=INK, linestyle='--', linewidth=1)
            names.append(level[0])
        axes.set_xlabel(x, parse_math=False)
        axes.set_ylabel(y, parse_math=False)
        axes.grid(alpha=0.15, color=INK)
        # Nothing happens in epoch 1.5.
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.spines[['top', 'right']].set_visible(False)
        axes.set_ylim(*((-0.02, 1.02) if shares else _limits(lines, level)))
        if len(names) > 1:
            columns = 2 if max(map(len, names)) < 28 else 1
            place = dict(loc='outside lower center', ncols=columns, fontsize=8, frameon=False)
            for text in figure.legend(axes.lines, names, **place).get_texts():
                text.set_parse_math(False)
        file = io.StringIO()
        figure.savefig(file, format='svg', transparent=True, metadata={'Date': None})
    drawing = file.getvalue()
    # Without the XML declaration, which has no place within a page.
    return Markup(drawing[drawing.index('<svg') :].replace(INK, 'currentColor'))


def _limits(
    lines: dict[str, Points], level: tuple[str, float] | None
) -> tuple[float | None, float | None]:
    """From the lowest value to a little above the highest after the first tenth."""
    later = [
        value
        for points in lines.values()
        for _, value in points[len(points) // 10 :]
        if math.isfinite(value)
    ]
    later += [level[1]] if level and math.isfinite(level[1]) else []
    if not later or min(later) == max(later):
        return None, None
    room = 0.05 * (max(later) - min(later))
    return min(later) - room, max(later) + room
