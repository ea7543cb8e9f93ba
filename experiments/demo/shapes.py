"""A small detection set, drawn: quick to learn, and hard enough that a teacher errs.

Eight shapes whose color, size and rotation say nothing about their class. Polygons with
more and more corners end in a circle, a rectangle may be nearly a square, and a star has
five tips or six: small or half hidden, anybody mistakes them for one another.
Format and layout are COCO's. The set is ours, and so are its rules.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as rle

from btkd_det.errors import ConfigError
from btkd_det.report.pictures import draw_boxes, grid

CLASSES = (
    'circle',
    'hexagon',
    'pentagon',
    'triangle',
    'square',
    'rectangle',
    'star',
    'hexagram',
)
SPLITS = ('train', 'val', 'test')
MANIFEST = 'shapes.json'
# Raised with every change of what is drawn, so that an older set is not taken for this one.
VERSION = 1

PALETTE = (
    (230, 87, 79),
    (240, 148, 62),
    (238, 196, 76),
    (120, 184, 104),
    (70, 166, 158),
    (84, 140, 204),
    (120, 104, 188),
    (204, 112, 168),
    (146, 120, 100),
    (244, 244, 238),
    (72, 80, 96),
)
CLASS_COLORS = (
    (214, 39, 40),
    (31, 119, 180),
    (44, 160, 44),
    (148, 103, 189),
    (227, 119, 194),
    (23, 160, 180),
    (120, 80, 70),
    (210, 120, 0),
)
# Drawn at this many times the size and then reduced: smooth edges.
OVERSAMPLE = 3
MIN_VISIBLE = 0.35


@dataclasses.dataclass(frozen=True)
class ShapesSpec:
    """What to draw. Two sets with equal fields are equal byte for byte.

    An image depends on ``seed``, ``image_size``, its split and its number alone: a larger
    split begins with the images of a smaller one.

    Args:
        seed (int): Seed of the whole set.
        train (int): Number of training images.
        val (int): Number of validation images.
        test (int): Number of held-out test images.
        image_size (int): Side of the square images in pixels.
        max_objects (int): Objects in an image at most, crowds aside.
        empty_share (float): Share of images without any object.
        crowd_share (float): Share of images with a crowd region.
    """

    seed: int = 0
    train: int = 1000
    val: int = 100
    test: int = 300
    image_size: int = 128
    max_objects: int = 8
    empty_share: float = 0.04
    crowd_share: float = 0.08

    def __post_init__(self):
        for field in ('seed', *SPLITS, 'image_size', 'max_objects'):
            value = getattr(self, field)
            lowest = {'seed': 0, 'image_size': 64, 'max_objects': 1}.get(field, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise ConfigError(f'{field}: {value!r}; valid: an integer of at least {lowest}')
        for field in ('empty_share', 'crowd_share'):
            value = getattr(self, field)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ConfigError(f'{field}: {value!r}; valid: a number from 0 to 1')


def make_shapes(out, spec=None, on_image=None):
    """Write the set that ``spec`` describes to ``out``, or find it there.

    The folder appears under its name when all of it is written, never before::

        out/annotations/instances_{train,val,test}.json
        out/{train,val,test}/000001.jpg ...
        out/contact_sheet.jpg
        out/shapes.json          the spec

    Args:
        out (str | Path): The folder.
        spec (ShapesSpec, optional): What to draw. Defaults to ``ShapesSpec()``.
        on_image (Callable[[int, int], None], optional): Called after each image with the
            number of images drawn and of images to draw.

    Returns:
        bool: Whether anything was drawn; False where the same set lies there already.

    Raises:
        ConfigError: ``out`` exists and is not this set.
    """
    out, spec = Path(out), spec or ShapesSpec()
    if is_made(out, spec):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.parent / f'.{out.name}.{os.getpid()}.part'
    part.mkdir()
    try:
        _write(part, spec, on_image or (lambda done, total: None))
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def is_made(out, spec):
    """Whether the set that ``spec`` describes lies in ``out``.

    Args:
        out (str | Path): The folder.
        spec (ShapesSpec): What should be in it.

    Returns:
        bool: True if it is there, False if nothing is.

    Raises:
        ConfigError: Something else is there.
    """
    out = Path(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    expected = _manifest(spec)
    try:
        found = json.loads((out / MANIFEST).read_text())
        differing = [key for key in expected if found.get(key) != expected[key]]
    except (OSError, ValueError, AttributeError):
        raise ConfigError(
            f'out: {str(out)!r} exists and holds no {MANIFEST}; '
            'valid: a new folder, an empty one, or one that this command made'
        ) from None
    if differing:
        key = differing[0]
        raise ConfigError(
            f'out: {str(out)!r} holds a set with {key}={found.get(key)!r}, asked for '
            f'{expected[key]!r}; valid: the same parameters, or another folder'
        )
    return True


def draw_image(spec, split, number):
    """Draw one image and what is in it.

    Args:
        spec (ShapesSpec): The set.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        number (int): Number of the image in its split, from 1.

    Returns:
        tuple[Image.Image, list[dict]]: The image (RGB) and its annotations in COCO's keys
        (``category_id`` from 1, ``bbox`` as x, y, w, h in pixels, around the visible part),
        without ``id`` and ``image_id``.
    """
    rng = np.random.default_rng([spec.seed, SPLITS.index(split), number])
    canvas = _background(rng, spec.image_size)
    kind = rng.random()
    if kind < spec.empty_share:
        return _finish(canvas, rng, spec.image_size), []
    groups = []
    if kind < spec.empty_share + spec.crowd_share:
        groups.append((_crowd(rng, spec.image_size), True))
    for shape in _scatter(rng, spec):
        groups.append(([shape], False))
    annotations = _paint(canvas, groups, spec.image_size)
    return _finish(canvas, rng, spec.image_size), annotations


def outline(name, rng):
    """Corners of a shape of unit size around the origin, before rotation.

    Args:
        name (str): One of ``CLASSES``.
        rng (numpy.random.Generator): Draws the proportions where the class leaves some open.

    Returns:
        numpy.ndarray: (K, 2) corners within the unit circle.
    """
    if name in ('star', 'hexagram'):
        tips = 5 if name == 'star' else 6
        inner = rng.uniform(0.44, 0.54)
        radius = np.where(np.arange(2 * tips) % 2, inner, 1.0)
        return radius[:, None] * _circle(2 * tips)
    if name in ('square', 'rectangle'):
        aspect = rng.uniform(1.0, 1.08) if name == 'square' else rng.uniform(1.22, 1.7)
        corners = np.array([[aspect, 1], [-aspect, 1], [-aspect, -1], [aspect, -1]])
        return corners / np.hypot(aspect, 1)
    corners = {'circle': 48, 'hexagon': 6, 'pentagon': 5, 'triangle': 3}[name]
    return _circle(corners) * [1.0, rng.uniform(0.94, 1.0)]


@dataclasses.dataclass
class _Shape:
    label: int
    corners: np.ndarray  # (K, 2) x, y in pixels
    color: tuple
    edge: tuple
    rim: float


def _circle(corners):
    angle = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _shape(rng, label, center, radius):
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    color = np.array(PALETTE[rng.integers(len(PALETTE))]) + rng.integers(-14, 15, 3)
    color = color.clip(0, 255)
    return _Shape(
        label=label,
        corners=outline(CLASSES[label], rng) @ turn * radius + center,
        color=tuple(int(c) for c in color),
        edge=tuple(int(c) for c in color * rng.uniform(0.55, 0.8)),
        rim=float(max(1.0, radius * 0.07)),
    )


def _scatter(rng, spec):
    """Objects in drawing order; some are put on the rim of an earlier one to hide it."""
    size = spec.image_size
    shapes, centers = [], []
    for _ in range(rng.integers(1, spec.max_objects + 1)):
        radius = size * np.exp(rng.uniform(np.log(0.05), np.log(0.2)))
        if centers and rng.random() < 0.35:
            other, reach = centers[rng.integers(len(centers))]
            angle = rng.uniform(0, 2 * np.pi)
            distance = rng.uniform(0.75, 1.05) * (reach + radius)
            center = other + distance * np.array([np.cos(angle), np.sin(angle)])
            center = center.clip(radius * 0.8, size - radius * 0.8)
        else:
            center = rng.uniform(radius, size - radius, 2)
        centers.append((center, radius))
        shapes.append(_shape(rng, int(rng.integers(len(CLASSES))), center, radius))
    return shapes


def _crowd(rng, size):
    """Many small shapes of one class in a heap, to be annotated as one region."""
    label = int(rng.integers(len(CLASSES)))
    heap = size * rng.uniform(0.12, 0.18)
    center = rng.uniform(heap, size - heap, 2)
    shapes = []
    for _ in range(rng.integers(9, 16)):
        angle, distance = rng.uniform(0, 2 * np.pi), heap * np.sqrt(rng.random())
        place = center + distance * np.array([np.cos(angle), np.sin(angle)])
        shapes.append(_shape(rng, label, place, size * rng.uniform(0.03, 0.05)))
    return shapes


def _background(rng, size):
    """Two soft colors, some faint lines and blobs: no class is told by what is around it."""
    ends = rng.integers(150, 236, (2, 3)).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    blend = (0.5 + np.cos(angle) * x + np.sin(angle) * y).clip(0, 1)[..., None]
    canvas = Image.fromarray((ends[0] * blend + ends[1] * (1 - blend)).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(2, 7)):
        tint = tuple(int(c) for c in (ends.mean(0) + rng.uniform(-30, 30)).clip(0, 255))
        points = rng.uniform(0, size, (2, 2))
        if rng.random() < 0.5:
            draw.line([tuple(p) for p in points], fill=tint, width=int(rng.integers(1, 4)))
        else:
            draw.ellipse([*points.min(0), *points.max(0)], outline=tint)
    soft = canvas.filter(ImageFilter.GaussianBlur(0.8))
    return soft.resize((size * OVERSAMPLE,) * 2, Image.Resampling.BILINEAR)


def _paint(canvas, groups, size):
    """Draw the groups back to front; annotate what stays visible of each.

    Where an object would be hidden by more than ``1 - MIN_VISIBLE``, the one that hides it is
    left out, so that whatever is drawn is also annotated.
    """
    masks, annotations = [], []
    for shapes, crowd in groups:
        mask = np.zeros((size, size), bool)
        for shape in shapes:
            mask |= _mask(shape, size)
        hidden = [(old & ~mask).sum() < MIN_VISIBLE * full for old, full, _, _ in masks]
        if any(hidden) or not mask.any():
            continue
        for entry in masks:
            entry[0] &= ~mask
        masks.append([mask, mask.sum(), shapes[0].label, crowd])
        for shape in shapes:
            _draw(canvas, shape)
    for mask, _, label, crowd in masks:
        annotations.append(_annotate(mask, label, crowd))
    return annotations


def _mask(shape, size):
    image = Image.new('1', (size, size))
    # A pixel belongs to the shape where its center does: corners count from pixel centers.
    ImageDraw.Draw(image).polygon([tuple(c) for c in shape.corners - 0.5], fill=1)
    return np.array(image, bool)


def _draw(canvas, shape):
    points = shape.corners * OVERSAMPLE
    rim = shape.rim * OVERSAMPLE
    _draw_shadow(canvas, points + 0.6 * rim, rim)
    draw = ImageDraw.Draw(canvas)
    draw.polygon([tuple(p) for p in points], fill=shape.edge)
    middle = points.mean(0)
    reach = np.linalg.norm(points - middle, axis=1).max()
    inner = middle + (points - middle) * (1 - 2.2 * rim / reach)
    draw.polygon([tuple(p) for p in inner], fill=shape.color)


def _draw_shadow(canvas, points, softness):
    corner = np.floor(points.min(0) - 3 * softness).astype(int)
    extent = np.ceil(points.max(0) + 3 * softness).astype(int) - corner
    shadow = Image.new('L', tuple(extent.tolist()))
    ImageDraw.Draw(shadow).polygon([tuple(p) for p in points - corner], fill=70)
    shadow = shadow.filter(ImageFilter.GaussianBlur(softness))
    canvas.paste((40, 40, 50), tuple(corner.tolist()), shadow)


def _annotate(mask, label, crowd):
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    if crowd:
        segmentation = {'size': list(mask.shape), 'counts': _run_lengths(mask)}
    else:
        segmentation = {'size': encoded['size'], 'counts': encoded['counts'].decode()}
    return {
        'category_id': label + 1,
        'bbox': [float(v) for v in rle.toBbox(encoded)],
        'area': float(rle.area(encoded)),
        'iscrowd': int(crowd),
        'segmentation': segmentation,
    }


def _run_lengths(mask):
    """COCO's uncompressed run lengths, column by column, zeros first: its form for crowds."""
    flat = np.concatenate([[False], mask.ravel(order='F')])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *edges, mask.size]).tolist()


def _finish(canvas, rng, size):
    image = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32)
    noise = rng.normal(0, rng.uniform(2, 7), image.shape)
    return Image.fromarray((image + noise).clip(0, 255).astype(np.uint8))


def _write(folder, spec, on_image):
    total = sum(getattr(spec, split) for split in SPLITS)
    (folder / 'annotations').mkdir()
    done = 0
    for split in SPLITS:
        (folder / split).mkdir()
        images, annotations = [], []
        for number in range(1, getattr(spec, split) + 1):
            image, found = draw_image(spec, split, number)
            name = f'{number:06d}.jpg'
            image.save(folder / split / name, quality=92)
            side = spec.image_size
            images.append({'id': number, 'file_name': name, 'width': side, 'height': side})
            for annotation in found:
                identity = {'id': len(annotations) + 1, 'image_id': number}
                annotations.append({**identity, **annotation})
            done += 1
            on_image(done, total)
        categories = [{'id': k + 1, 'name': name} for k, name in enumerate(CLASSES)]
        content = {
            'info': {'description': f'btkd_det shapes, {split}', 'version': str(VERSION)},
            'licenses': [],
            'categories': categories,
            'images': images,
            'annotations': annotations,
        }
        (folder / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    contact_sheet(spec).save(folder / 'contact_sheet.jpg', quality=90)
    (folder / MANIFEST).write_text(json.dumps(_manifest(spec), indent=2) + '\n')


def _manifest(spec):
    return {'version': VERSION, **dataclasses.asdict(spec)}


def contact_sheet(spec, columns=6, rows=4):
    """The first training images of a set with their annotations drawn in.

    Args:
        spec (ShapesSpec): The set.
        columns (int): Images in a row, at most.
        rows (int): Rows, at most.

    Returns:
        Image.Image: The sheet.
    """
    columns = min(columns, spec.train)
    rows = min(rows, spec.train // columns)
    cells = [_annotated(spec, number) for number in range(1, columns * rows + 1)]
    return grid([cells[r * columns : (r + 1) * columns] for r in range(rows)])


def _annotated(spec, number):
    image, annotations = draw_image(spec, 'train', number)
    boxes, captions, colors = [], [], []
    for annotation in annotations:
        x, y, w, h = annotation['bbox']
        label = annotation['category_id'] - 1
        boxes.append((x, y, x + w, y + h))
        captions.append(CLASSES[label] + (' (crowd)' if annotation['iscrowd'] else ''))
        colors.append(CLASS_COLORS[label])
    return draw_boxes(image, boxes, captions, colors)
