"""COCO's twelve numbers by pycocotools and by faster-coco-eval, on drawn results."""

import contextlib
import io
import statistics

import numpy as np
from pycocotools.coco import COCO

from btkd_det.evaluation import coco_numbers

from .measure import alternate, environment, summary

SIZE = 640


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--classes', type=int, default=80)
    parser.add_argument('--objects', type=int, default=7, help='of an image')
    parser.add_argument('--detections', type=int, default=50, help='of an image')
    parser.add_argument('--rounds', type=int, default=3)


def run(images=5000, classes=80, objects=7, detections=50, rounds=3):
    """Count drawn detections both ways, in turn.

    Args:
        images (int): Number of images.
        classes (int): Number of categories.
        objects (int): Annotated in each image.
        detections (int): In each image: as many as there are objects lie near them.
        rounds (int): Counted ones of each.

    Returns:
        dict: ``environment``, the arguments, ``seconds``, ``pycocotools_to_fast`` (of medians) and
        ``largest_difference`` between the twelve numbers of both.
    """
    truth, found = draw(images, classes, objects, detections)
    numbers = {}

    def counted(name):
        numbers[name], _ = coco_numbers(truth, found, fast=name != 'pycocotools')

    ways = {
        name: lambda _, name=name: counted(name) for name in ('pycocotools', 'faster-coco-eval')
    }
    seconds = alternate(ways, rounds, warmup=0)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ours, fast = (np.array(list(values.values())) for values in numbers.values())
    return dict(
        environment=environment(),
        images=images,
        classes=classes,
        objects=objects,
        detections=detections,
        seconds={name: summary(values) for name, values in seconds.items()},
        pycocotools_to_fast=round(median['pycocotools'] / median['faster-coco-eval'], 2),
        largest_difference=float(abs(ours - fast).max()),
    )


def draw(images, classes, objects, detections, seed=0):
    """Annotations, and detections of which some lie near them.

    Returns:
        tuple[COCO, list[dict]]: The annotations and COCO results.
    """
    rng = np.random.default_rng(seed)
    annotations, found = [], []
    for image in range(images):
        boxes = np.concatenate(
            [rng.uniform(0, SIZE / 2, (objects, 2)), rng.uniform(8, SIZE / 2, (objects, 2))], 1
        )
        labels = rng.integers(1, classes + 1, objects)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            number = len(annotations) + 1
            annotations.append(
                dict(id=number, image_id=image, category_id=label, bbox=box, iscrowd=0)
                | dict(area=box[2] * box[3])
            )
        near = boxes * rng.normal(1, 0.1, boxes.shape)
        rest = rng.uniform(8, SIZE / 2, (detections - objects, 4))
        kinds = np.concatenate([labels, rng.integers(1, classes + 1, detections - objects)])
        for box, label in zip(np.concatenate([near, rest]).tolist(), kinds.tolist(), strict=True):
            found.append(
                dict(image_id=image, category_id=label, bbox=box, score=float(rng.random()))
            )
    truth = COCO()
    truth.dataset = dict(
        images=[dict(id=image, width=SIZE, height=SIZE) for image in range(images)],
        categories=[dict(id=label, name=str(label)) for label in range(1, classes + 1)],
        annotations=annotations,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth, found
