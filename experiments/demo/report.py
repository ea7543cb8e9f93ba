"""What the demo shows at its end: a table for the terminal, and one page with pictures."""

import html
import textwrap

from markupsafe import Markup
from PIL import Image

from btkd_det.report.page import embedded, render
from btkd_det.report.pictures import draw_boxes, grid
from btkd_det.report.table import percent, text_table

from .detections import IGNORED, RIGHT, WRONG, verdicts
from .shapes import CLASS_COLORS

VERDICT_COLORS = {RIGHT: (30, 136, 72), WRONG: (208, 48, 48), IGNORED: (120, 124, 134)}
CURVE_COLORS = ('#5b6475', '#9aa3b2', '#1f77b4', '#e0851b', '#1e8848')
NOTE = (
    'One seed is a demonstration, not evidence: the three students go on from the same weights, by '
    'one schedule, and still differ by half a point of AP with the seed alone.'
)
# The studies' findings; a link leads from the page to their tables.
FOUND = (
    'In the studies, by up to ten seeds each, plain KD and the robust BTKD both gain from a good '
    'teacher, and no difference between the two was found. From a teacher that was stopped early '
    'or learned wrong classes KD loses to the student alone, and the robust BTKD does not.'
)
RESULTS = 'docs/results.md'


def demo_table(rows, images):
    """The demo's table and what may not be read into it.

    Args:
        rows (list[dict]): One per model: ``title``, ``AP``, ``AP50``, ``AP75`` in [0, 1],
            ``parameters``, ``seconds_per_step``.
        images (int): Size of the test split.

    Returns:
        str: For a terminal.
    """
    table = text_table(_header(), [_cells(row) for row in rows])
    found = f'{FOUND} ({RESULTS})'
    notes = '\n'.join(line for text in (NOTE, found) for line in textwrap.wrap(text, 88))
    return f'COCO AP on the held-out test split ({images} images)\n\n{table}\n\n{notes}'


def side_by_side(image, truth, found, names, titles, scale=2):
    """One image five times: the annotations, then the detections of each model.

    Args:
        image (Image.Image): The image.
        truth (list[tuple]): ``(box, label, crowd)``.
        found (list[list[tuple]]): For each model ``(box, label, score)``, best first.
        names (Sequence[str]): Class names.
        titles (Sequence[str]): Names of the models.
        scale (int): Enlargement. Defaults to 2.

    Returns:
        Image.Image: The row. Right detections are green, wrong ones red, those in a crowd gray.
    """
    cells = [
        draw_boxes(
            image,
            [box for box, _, _ in truth],
            [names[label] + (' (crowd)' if crowd else '') for _, label, crowd in truth],
            [CLASS_COLORS[label % len(CLASS_COLORS)] for _, label, _ in truth],
            scale,
        )
    ]
    for rows in found:
        # Drawn worst first, so that the best lies on top.
        marked = list(zip(rows, verdicts(rows, truth), strict=True))[::-1]
        cells.append(
            draw_boxes(
                image,
                [box for (box, _, _), _ in marked],
                [f'{names[label]} {100 * score:.0f}' for (_, label, score), _ in marked],
                [VERDICT_COLORS[verdict] for _, verdict in marked],
                scale,
            )
        )
    return grid([cells], ['annotated', *titles])


def write_report(path, rows, spec, images, truths, found, names):
    """Write the page, and its pictures beside it as files.

    The page holds its pictures itself, so it can be sent and opened anywhere.

    Args:
        path (Path): The HTML file; pictures go to ``pictures/`` next to it.
        rows (list[dict]): As in :func:`demo_table`, with ``curve``, ``config`` and
            ``checkpoint``.
        spec (ShapesSpec): The data.
        images (list[Path]): Image files.
        truths (list[list[tuple]]): Annotations of each, see :func:`side_by_side`.
        found (list[list[list[tuple]]]): For each model and each image the detections.
        names (Sequence[str]): Class names.
    """
    folder = path.parent / 'pictures'
    folder.mkdir(exist_ok=True)
    titles = [row['title'] for row in rows]
    figures = []
    for i, (file, truth) in enumerate(zip(images, truths, strict=True)):
        with Image.open(file) as image:
            row = side_by_side(image, truth, [own[i] for own in found], names, titles)
        row.save(folder / f'val_{file.stem}.png')
        figures.append(row)
    path.write_text(_page(rows, spec, figures), encoding='utf-8')


_BODY = """<h1>A teacher, and a small student alone, with KD and with BTKD</h1>
<p>Faster R-CNN with FPN on drawn images of {{ spec.image_size }} x {{ spec.image_size }} pixels.
The teacher was trained on the first half of {{ spec.train }} images, the student so far on the
other half. Then it goes on three times, on 600 images that the teacher has seen, by one schedule
and one seed.
COCO AP on the held-out test split of {{ spec.test }} images, which nothing was chosen by.</p>
<div class="wide"><table><tr>{% for cell in header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for line in lines %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<p class="note">{{ note }}</p>
<p>{{ found }} The tables: <code>{{ results }}</code>.</p>
<h2>What they see</h2>
<p>The first validation images with at least three objects. Detections with a score of at least 30,
the best one for each place: <b class="right">right</b> (class and IoU 0.5),
<b class="wrong">wrong</b>, <b class="ignored">in a crowd</b>, which counts as neither.</p>
{% for picture in pictures %}<p class="wide">{{ picture }}</p>
{% endfor %}
<h2>AP on the validation split while training</h2>
{{ curves }}
<h2>How to go on</h2>
<p>Train one of these by itself, or change it:</p>
<ul>{% for row in rows -%}
<li>{{ row.title }}: <code>{{ row.config }}</code>, <code>{{ row.checkpoint }}</code></li>
{%- endfor %}</ul>"""


def _page(rows, spec, figures):
    return render(
        _BODY,
        'btkd_det demo',
        rows=rows,
        spec=spec,
        note=NOTE,
        found=FOUND,
        results=RESULTS,
        header=_header(),
        lines=[_cells(row) for row in rows],
        pictures=[embedded(figure, 'detections side by side') for figure in figures],
        curves=Markup(_curves(rows)),
    )


def _header():
    return ['model', 'AP', 'AP50', 'AP75', 'parameters', 's/step']


def _cells(row):
    numbers = [percent(row[name]) for name in ('AP', 'AP50', 'AP75')]
    parameters = f'{row["parameters"] / 1e6:.2f} M'
    return [row['title'], *numbers, parameters, f'{row["seconds_per_step"]:.3f}']


def _curves(rows, width=690, height=260):
    """AP against the share of each training, drawn as SVG."""
    left, bottom, right = 40, 28, 200
    top = max([0.1, *(max(row['curve'], default=0) for row in rows)]) * 1.08
    x = lambda share: left + share * (width - left - right)
    y = lambda ap: 8 + (1 - ap / top) * (height - bottom - 8)
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" font-size="12">']
    for tick in range(0, int(top * 10) + 1):
        level = y(tick / 10)
        parts.append(
            f'<path d="M{left} {level:.1f}H{width - right}" stroke="#e2e2dc"/>'
            f'<text x="{left - 8}" y="{level + 4:.1f}" text-anchor="end">{10 * tick}</text>'
        )
    for i, row in enumerate(rows):
        color = CURVE_COLORS[i % len(CURVE_COLORS)]
        points = [(x((k + 1) / len(row['curve'])), y(ap)) for k, ap in enumerate(row['curve'])]
        line = ' '.join(f'{px:.1f},{py:.1f}' for px, py in points)
        dots = ''.join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3"/>' for px, py in points)
        label = (
            f'<text x="{width - right + 14}" y="{24 + 20 * i}">{html.escape(row["title"])}</text>'
        )
        parts.append(
            f'<g fill="{color}"><polyline points="{line}" fill="none" stroke="{color}" '
            f'stroke-width="2"/>{dots}{label}</g>'
        )
    parts.append(f'<text x="{left}" y="{height - 6}">share of the training done</text></svg>')
    return '\n'.join(parts)
