"""Spoil the annotations of a detection set, to see what that does to a teacher.

    python experiments/annotations.py instances_train.json --out flipped.json --flip 0.3
    python experiments/annotations.py instances_train.json --out dropped.json --drop 0.3

Files in COCO's format. The same file, shares and seed give the same bytes.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from btkd_det.errors import ConfigError


def flip_classes(content, share, seed=0):
    """Give a share of the objects another class, uniformly one of the others.

    A larger share with the same seed flips the same objects and more. Crowd regions stay.

    Args:
        content (dict): The content of a file in COCO's format; it is left as it is.
        share (float): Of the objects, from 0 to 1; the nearest whole number of them is flipped.
        seed (int): Which objects, and to which classes.

    Returns:
        dict: The same with other ``category_id``.

    Raises:
        ConfigError: ``share`` is out of its range, or there is no other class.
    """
    classes = sorted(category['id'] for category in content['categories'])
    if len(classes) < 2:
        raise ConfigError(f'categories: {len(classes)}; valid: at least 2, to flip one to another')
    objects = _objects(content)
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(len(objects))
    # Drawn for every object, so that a flip does not depend on how many are flipped.
    steps = rng.integers(1, len(classes), len(objects))
    annotations = list(content['annotations'])
    for chosen in order[: _count(share, len(objects), 'flip')]:
        annotation = annotations[objects[chosen]]
        place = classes.index(annotation['category_id']) + steps[chosen]
        flipped = classes[place % len(classes)]
        annotations[objects[chosen]] = {**annotation, 'category_id': flipped}
    return {**content, 'annotations': annotations}


def drop_boxes(content, share, seed=0):
    """Leave a share of the objects out, as if nobody had annotated them.

    A larger share with the same seed leaves out the same objects and more. Crowd regions stay,
    and so do images that are without objects then.

    Args:
        content (dict): The content of a file in COCO's format; it is left as it is.
        share (float): Of the objects, from 0 to 1; the nearest whole number of them goes.
        seed (int): Which objects.

    Returns:
        dict: The same with fewer ``annotations``.

    Raises:
        ConfigError: ``share`` is out of its range.
    """
    objects = _objects(content)
    order = np.random.default_rng([seed, 1]).permutation(len(objects))
    dropped = {objects[chosen] for chosen in order[: _count(share, len(objects), 'drop')]}
    kept = [entry for place, entry in enumerate(content['annotations']) if place not in dropped]
    return {**content, 'annotations': kept}


def _objects(content):
    """Places of the annotations that are no crowd regions."""
    entries = enumerate(content['annotations'])
    return [place for place, annotation in entries if not annotation.get('iscrowd')]


def _count(share, total, field):
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ConfigError(f'{field}: {share!r}; valid: a share from 0 to 1')
    return round(share * total)


def read(path):
    """The content of a file in COCO's format; raises ConfigError."""
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigError(f'annotations: {path}: {error}; valid: a file of COCO json') from None
    missing = [key for key in ('annotations', 'categories') if key not in dict(content)]
    if missing:
        raise ConfigError(f'annotations: {path} has no {missing[0]!r}; valid: COCO instances')
    return content


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('annotations', metavar='FILE', help='COCO json')
    parser.add_argument('--out', metavar='FILE', required=True, help='where to write')
    parser.add_argument('--flip', type=float, default=0.0, help='share of classes to flip')
    parser.add_argument('--drop', type=float, default=0.0, help='share of boxes to drop')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        content = read(args.annotations)
        content = drop_boxes(content, args.drop, args.seed)
        if args.flip:
            content = flip_classes(content, args.flip, args.seed)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content), encoding='utf-8')
    print(f'Written: {out}, {len(content["annotations"])} annotations')


if __name__ == '__main__':
    main()
