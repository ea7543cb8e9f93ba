"""Boxes drawn on images, and images side by side."""

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

INK = (38, 42, 54)
PAPER = (252, 252, 250)
GAP = 8


def font(size: Any) -> Any:
    """Pillow's own font at ``size`` pixels: no file to look for."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow < 10.1 knows one size only
        return ImageFont.load_default()


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    captions: Sequence[str],
    colors: Sequence[tuple[int, int, int]],
    scale: int = 2,
) -> Image.Image:
    """Enlarge an image and draw captioned boxes on it.

    Args:
        image (Image.Image): The image.
        boxes (Sequence[Sequence[float]]): (N, 4) as x1, y1, x2, y2 in the image's pixels.
        captions (Sequence[str]): N texts; an empty one draws the box alone.
        colors (Sequence[tuple[int, int, int]]): N colors.
        scale (int): Enlargement. Defaults to 2.

    Returns:
        Image.Image: A new image, ``scale`` times as large.
    """
    size = (image.width * scale, image.height * scale)
    canvas = image.convert('RGB').resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    for box, color in zip(boxes, colors, strict=True):
        draw.rectangle([v * scale for v in box], outline=color, width=2)
    # Captions after all boxes, so that no box crosses a text.
    for box, caption, color in zip(boxes, captions, colors, strict=True):
        if caption:
            _tag(draw, (box[0] * scale, box[1] * scale), caption, color, canvas.size)
    return canvas


def crop(
    image: Image.Image,
    box: Sequence[float] | None,
    size: int,
    drawn: Sequence[tuple] = (),
    context: float = 0.5,
) -> Image.Image:
    """The part of an image around a box, as a square.

    Args:
        image (Image.Image): The image.
        box (Sequence[float] | None): x1, y1, x2, y2 in its pixels; ``None`` takes the whole.
        size (int): Of the result, in pixels.
        drawn (Sequence[tuple]): Boxes in the image's pixels, and their colors.
        context (float): What is shown around the box, as a share of its longer side.

    Returns:
        Image.Image: The part, black beyond the image's border.
    """
    x1, y1, x2, y2 = box or (0, 0, *image.size)
    side = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * context if box else 1)
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    # Image.crop works in whole pixels; a transformation does not round the box away.
    data = (side / size, 0, left, 0, side / size, top)
    method = Image.Transform.AFFINE
    part = image.convert('RGB').transform((size, size), method, data, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(part)
    for corners, color in drawn:
        place = [(v - o) * size / side for v, o in zip(corners, (left, top) * 2, strict=True)]
        draw.rectangle(place, outline=color, width=2)
    return part


def grid(
    rows: Sequence[Sequence[Image.Image]],
    titles: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
) -> Image.Image:
    """Images in rows on one sheet.

    Args:
        rows (Sequence[Sequence[Image.Image]]): Images of one size, no row longer than the first.
        titles (Sequence[str], optional): A heading for each column.
        captions (Sequence[Sequence[str]], optional): A text above each image; as much room as
            the longest of them needs.

    Returns:
        Image.Image: The sheet.
    """
    width, height = rows[0][0].size
    head = 26 if titles else GAP
    texts = [text for row in captions or () for text in row]
    above = 4 + 15 * max(2, *(text.count('\n') + 1 for text in texts)) if texts else 0
    columns = len(rows[0])
    sheet = Image.new(
        'RGB',
        (GAP + columns * (width + GAP), head + len(rows) * (height + above + GAP)),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles or ()):
        middle = GAP + column * (width + GAP) + width / 2
        draw.text((middle, head / 2), title, INK, font(15), anchor='mm')
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            place = GAP + x * (width + GAP), head + above + y * (height + above + GAP)
            sheet.paste(image, place)
            if captions:
                draw.text((place[0], place[1] - above), captions[y][x], INK, font(12))
    return sheet


def _tag(draw: Any, corner: Any, caption: Any, color: Any, limits: Any) -> None:
    """A small filled label above ``corner``, moved inside the image where it would leave it."""
    face = font(11)
    left, top, right, bottom = draw.textbbox((0, 0), caption, face)
    width, height = right - left + 6, bottom - top + 4
    x = min(max(corner[0], 0), limits[0] - width)
    y = min(max(corner[1] - height, 0), limits[1] - height)
    draw.rectangle([x, y, x + width, y + height], fill=color)
    light = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] > 150
    draw.text((x + 3 - left, y + 2 - top), caption, INK if light else PAPER, face)
