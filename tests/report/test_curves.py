"""Drawings within a page."""

import math
import re

import pytest

from btkd_det.report.curves import COLORS, curves, thinned


def test_many_points_are_means_of_their_neighbors():
    points = [(i, 2 * i) for i in range(1, 9)]
    assert thinned(points, 4) == [(1.5, 3), (3.5, 7), (5.5, 11), (7.5, 15)]
    assert thinned(points, 8) == points
    assert thinned(points[:7], 3) == [(2, 4), (5, 10), (7, 14)]
    assert thinned([], 3) == []


def drawn(drawing, stroke):
    """The vertical places of a line's points, top to bottom as numbers grow."""
    path = re.search(rf'<path d="([^"]+)"[^>]*{stroke}', drawing)[1]
    return [float(y) for y in re.findall(r'[ML] [\d.]+ (-?[\d.]+)', path)]


def test_higher_values_are_drawn_higher_and_names_are_text():
    lines = {'$\\frac{x$': [(1, 0.1), (2, 0.3), (3, 0.2)], '<script>': [(1, 0.4), (3, 0.4)]}
    drawing = curves(lines, 'epoch', level=('teacher', 0.6))

    first, second, third = drawn(drawing, COLORS[0])
    assert first > third > second
    assert min(drawn(drawing, COLORS[1])) < second
    (level, *_) = drawn(drawing, 'stroke-dasharray[^>]*stroke: currentColor')
    assert 0 < level < min(drawn(drawing, COLORS[1]))
    assert '$\\frac{x$</text>' in drawing
    assert '<script' not in drawing.replace('&lt;script', '')
    assert drawing.startswith('<svg')


def test_the_text_follows_the_page():
    drawing = curves({'a': [(1, 1), (2, 2)]}, 'epoch', 'AP')
    assert '#010203' not in drawing
    assert re.search(r'<text[^>]*fill: currentColor', drawing)
    # On the page's own paper.
    assert '#ffffff' not in drawing


@pytest.mark.parametrize(
    'values', [[math.nan] * 3, [1, math.nan, 3], [math.inf, 1, 2], [5, 5], [5]]
)
def test_values_that_cannot_be_drawn_leave_a_gap(values):
    values = [value if math.isfinite(value) else math.nan for value in values]
    assert curves({'a': list(enumerate(values))}, 'epoch').startswith('<svg')


def test_the_first_steps_do_not_flatten_the_rest():
    values = [1000, *[1 + i % 2 for i in range(39)]]
    places = drawn(curves({'a': list(enumerate(values))}, 'iteration'), COLORS[0])
    assert abs(places[2] - places[3]) > 50
