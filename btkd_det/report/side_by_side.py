"""What a teacher and its student answer, beside what is annotated, as one picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..evaluation import matched_detections
from .pictures import GAP, INK, PAPER, draw_boxes, font, grid

Color = tuple[int, int, int]
TRUE, RIGHT, WRONG, IGNORED = (60, 110, 220), (30, 160, 80), (220, 50, 50), (150, 150, 155)
#: The teacher gets it wrong and the student right; the reverse.
BEYOND, LOST = (255, 170, 0), (170, 70, 220)
#: Longer side of a detector's image, and side of a classifier's, in pixels.
PANEL, CELL = 360, 176


@dataclass
class Found:
    """The detections of one model in one image.

    Attributes:
        boxes (Tensor): (D, 4) as x1, y1, x2, y2 in the image's pixels.
        labels (Tensor): Class indices, (D,).
        scores (Tensor): (D,).
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


def surest_at_each_place(found: Found, overlap: float = 0.6) -> Found:
    """The answer at each place: of detections that lie on one another the surest.

    A detector suppresses within a class. What it takes for two classes keeps a box of each, and
    nobody can tell which of them is its answer.

    Args:
        found (Found): All detections.
        overlap (float): IoU above which the lower score goes, whatever the classes. Defaults to
            0.6.
    """
    from torchvision.ops import nms  # detectors alone need it

    kept = nms(found.boxes, found.scores, overlap)
    return Found(found.boxes[kept], found.labels[kept], found.scores[kept])


@dataclass
class DetectionRow:
    """An image with what is annotated and what both models find.

    Attributes:
        image (Image.Image): The image.
        boxes (Tensor): Of the objects, (G, 4) as x1, y1, x2, y2 in its pixels.
        labels (Tensor): Their classes, (G,).
        teacher, student (Found): The detections.
        ignored (Tensor): Boxes of regions that do not count, (I, 4).
    """

    image: Image.Image
    boxes: Tensor
    labels: Tensor
    teacher: Found
    student: Found
    ignored: Tensor = field(default_factory=lambda: torch.zeros(0, 4))


@dataclass
class ClassifiedImage:
    """An image with its class and what both models take it for.

    Attributes:
        image (Image.Image): The image.
        label (int): Its class.
        teacher, student (tuple[int, float]): The class that each chooses, and its probability.
    """

    image: Image.Image
    label: int
    teacher: tuple[int, float]
    student: tuple[int, float]


def detection_sheet(
    rows: Sequence[DetectionRow], names: Sequence[str], title: str
) -> tuple[Image.Image, dict[str, int]]:
    """Annotation, teacher and student side by side, a row for each image.

    Args:
        rows (Sequence[DetectionRow]): At least one.
        names (Sequence[str]): Of the classes.
        title (str): When the student was at this, such as ``'epoch 3'``.

    Returns:
        tuple[Image.Image, dict[str, int]]: The sheet; and the number of ``objects``, of those
        ``beyond`` the teacher, which only the student finds, and ``lost``, the reverse.
    """
    panels: list[list[Image.Image]] = []
    counts = dict(objects=0, beyond=0, lost=0)
    for row in rows:
        matches = [
            matched_detections(f.boxes, f.labels, f.scores, row.boxes, row.labels)
            for f in (row.teacher, row.student)
        ]
        its, own = (match >= 0 for match in matches)
        beyond, lost = own & ~its, its & ~own
        counts['objects'] += len(row.labels)
        counts['beyond'] += int(beyond.sum())
        counts['lost'] += int(lost.sum())
        marked = [(row.boxes[beyond], BEYOND), (row.boxes[lost], LOST)]
        scale = PANEL / max(row.image.size)
        size = [max(round(side * scale), 1) for side in row.image.size]
        image = row.image.convert('RGB').resize(size, Image.Resampling.LANCZOS)
        drawn = [_annotated(row, names)]
        drawn += [
            _detected(found, match, names)
            for found, match in zip((row.teacher, row.student), matches, strict=True)
        ]
        panels.append([_panel(image, scale, parts, marked) for parts in drawn])
    legend = [
        (BEYOND, f'missed by the teacher, found by the student: {counts["beyond"]}'),
        (LOST, f'the reverse: {counts["lost"]}'),
        (RIGHT, 'right'),
        (WRONG, 'wrong class or place'),
    ]
    sheet = grid(_padded(panels), ['annotation', 'teacher', f'student, {title}'])
    return _with_legend(sheet, legend), counts


def classification_sheet(
    images: Sequence[ClassifiedImage], names: Sequence[str], title: str, columns: int = 4
) -> tuple[Image.Image, dict[str, int]]:
    """Images with their class and what teacher and student take them for.

    Args:
        images (Sequence[ClassifiedImage]): At least one.
        names (Sequence[str]): Of the classes.
        title (str): When the student was at this.
        columns (int): Of the grid. Defaults to 4.

    Returns:
        tuple[Image.Image, dict[str, int]]: See :func:`detection_sheet`.
    """
    cells, captions = [], []
    counts = dict(objects=len(images), beyond=0, lost=0)
    for item in images:
        its, own = (choice == item.label for choice, _ in (item.teacher, item.student))
        counts['beyond'] += own and not its
        counts['lost'] += its and not own
        color = (RIGHT if own else WRONG) if its == own else (BEYOND if own else LOST)
        size = (CELL, CELL)
        cell = item.image.convert('RGB').resize(size, Image.Resampling.LANCZOS)
        width = 3 if its == own else 7
        ImageDraw.Draw(cell).rectangle([0, 0, CELL - 1, CELL - 1], outline=color, width=width)
        cells.append(cell)
        texts = [_name(names, item.label)]
        for who, (choice, share) in (('teacher', item.teacher), ('student', item.student)):
            texts.append(f'{who}: {_name(names, choice)} {100 * share:.0f} %')
        captions.append('\n'.join(texts))
    cells += [Image.new('RGB', (CELL, CELL), PAPER)] * (-len(cells) % columns)
    captions += [''] * (-len(captions) % columns)
    split = lambda items: [items[i : i + columns] for i in range(0, len(items), columns)]
    legend = [
        (BEYOND, f'the teacher is wrong, the student right: {counts["beyond"]}'),
        (LOST, f'the reverse: {counts["lost"]}'),
        (RIGHT, 'both right'),
        (WRONG, 'both wrong'),
    ]
    sheet = grid(split(cells), captions=split(captions))
    return _with_legend(sheet, legend, f'student: {title}'), counts


def _annotated(row: DetectionRow, names: Sequence[str]) -> list[tuple]:
    """Boxes, captions and colors of what is annotated."""
    drawn = [(box, '', IGNORED) for box in row.ignored.tolist()]
    for box, label in zip(row.boxes.tolist(), row.labels.tolist(), strict=True):
        drawn.append((box, _name(names, label), TRUE))
    return drawn


def _detected(found: Found, match: Tensor, names: Sequence[str]) -> list[tuple]:
    """Boxes, captions and colors of detections; the surest last, above the others."""
    right = set(match[match >= 0].tolist())
    drawn = []
    for i in found.scores.argsort().tolist():
        caption = f'{_name(names, int(found.labels[i]))} {100 * float(found.scores[i]):.0f}'
        drawn.append((found.boxes[i].tolist(), caption, RIGHT if i in right else WRONG))
    return drawn


def _panel(
    image: Image.Image,
    scale: float,
    drawn: Sequence[tuple],
    marked: Sequence[tuple[Tensor, Color]],
) -> Image.Image:
    """An image with boxes, and thick frames around the objects that are marked."""
    canvas = image.copy()
    draw = ImageDraw.Draw(canvas)
    for boxes, color in marked:
        for x1, y1, x2, y2 in (boxes * scale).tolist():
            draw.rectangle([x1 - 5, y1 - 5, x2 + 5, y2 + 5], outline=color, width=5)
    # A detector may give corners in the wrong order, which Pillow refuses.
    boxes = [_ordered([v * scale for v in box]) for box, _, _ in drawn]
    captions, colors = [c for _, c, _ in drawn], [color for _, _, color in drawn]
    return draw_boxes(canvas, boxes, captions, colors, scale=1)


def _ordered(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def _padded(panels: list[list[Image.Image]]) -> list[list[Image.Image]]:
    """All panels on canvases of one size."""
    width = max(panel.width for row in panels for panel in row)
    height = max(panel.height for row in panels for panel in row)
    padded = []
    for row in panels:
        canvases = [Image.new('RGB', (width, height), PAPER) for _ in row]
        for canvas, panel in zip(canvases, row, strict=True):
            canvas.paste(panel, ((width - panel.width) // 2, (height - panel.height) // 2))
        padded.append(canvases)
    return padded


def _with_legend(
    sheet: Image.Image, entries: Sequence[tuple[Color, str]], title: str = ''
) -> Image.Image:
    """The sheet above what its colors mean, in as many lines as that takes."""
    face = font(13)
    measure = ImageDraw.Draw(sheet)
    lines: list[list[tuple[int, Color | None, str]]] = [[]]
    x = GAP
    for color, text in [*([(None, title)] if title else []), *entries]:
        width = round(measure.textlength(text, face)) + 40
        if lines[-1] and x + width > sheet.width:
            lines.append([])
            x = GAP
        lines[-1].append((x, color, text))
        x += width
    below = Image.new('RGB', (sheet.width, sheet.height + 22 * len(lines) + GAP), PAPER)
    below.paste(sheet)
    draw = ImageDraw.Draw(below)
    for number, line in enumerate(lines):
        y = sheet.height + 22 * number + 4
        for left, color, text in line:
            if color is not None:
                draw.rectangle([left, y, left + 13, y + 13], fill=color)
            draw.text((left + (20 if color else 0), y + 7), text, INK, face, anchor='lm')
    return below


def _name(names: Sequence[str], index: int, most: int = 16) -> str:
    """A class's name, cut where it is long; its number where it has none."""
    name = str(names[index]) if 0 <= index < len(names) else f'class {index}'
    return name if len(name) <= most else f'{name[: most - 1]}…'
