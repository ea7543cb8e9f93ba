"""Data sets in COCO's and VOC's formats: what is in them, and one sample through the pipeline."""

import contextlib
import copy
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine import registry as root
from mmengine.logging import print_log

from ..config.reading import type_name
from ..datasets.skip_bad_images import is_bad_image
from ..errors import ConfigError
from ..models.distilled import undisturbed_rng
from .annotations import check_coco_file, is_plain_coco
from .building import build_part, reason
from .images import can_skip, check_images
from .voc import check_voc, is_plain_voc, voc_folders


@dataclass
class Contents:
    """What the data sets of a loader hold.

    Attributes:
        length (int | None): Images of all of them; None where one is of another format.
        boxes (int | None): Likewise.
        samples (list[tuple[object, dict]]): Of each that was tried, the first packed sample,
            and the meta information of the data set.
        details (list[str]): Which of them have no image or no box, and why.
        batches (int | None): Batches of an epoch, where the number is known.
        whole (bool): Whether the one sample is what the loader's data set itself gives: nothing
            is wrapped around it.
    """

    length: int | None = 0
    boxes: int | None = 0
    samples: list = field(default_factory=list)
    details: list = field(default_factory=list)
    batches: int | None = None
    whole: bool = False


def check_datasets(
    datasets: list[tuple[dict[str, Any], str]],
    loader: str,
    scope: str,
    action: str,
    classes_of: Callable,
) -> Contents:
    """Look into every data set of a loader whose format is known.

    Args:
        datasets (list[tuple[dict, str]]): The innermost data sets, each with its field.
        loader (str): The loader's key.
        scope (str): The default scope.
        action (str): See :func:`btkd_det.preflight.images.on_bad_image`.
        classes_of (Callable): Gives the class names of a data set's config.

    Returns:
        Contents: What they hold.

    Raises:
        ConfigError: Annotations or images are damaged, or nothing is left to train on.
    """
    total = Contents()
    for dataset, place in datasets:
        _check_pipeline(dataset, place, scope)
        if _is_remote(dataset):
            total.length = total.boxes = None
            continue
        classes = classes_of(dataset)
        coco, voc = is_plain_coco(dataset, scope), is_plain_voc(dataset, scope)
        if (coco or voc) and not dataset.get('ann_file'):
            raise ConfigError(f'{place}.ann_file: missing; valid: a file below the data root')
        if coco and classes:
            _count(total, *_check_coco(dataset, place, scope, action, classes, total.details))
        elif voc and classes:
            paths = check_voc(dataset, classes, place)
            check_images(paths, dataset, place, action)
            _count(total, len(paths), len(paths), _try_voc(dataset, place, scope, action))
        else:
            if voc:
                voc_folders(dataset, place)
            total.length = total.boxes = None
    total.whole = len(total.samples) == 1 and [place for _, place in datasets] == [
        f'{loader}.dataset'
    ]
    _nothing_left(total, loader)
    return total


def _check_pipeline(dataset: Any, place: str, scope: str) -> None:
    transforms = dataset.get('pipeline', ())
    if not isinstance(transforms, (list, tuple)):
        raise ConfigError(f'{place}.pipeline: {transforms!r}; valid: a list of transforms')
    for i, node in enumerate(transforms):
        if isinstance(node, dict):
            build_part(node, root.TRANSFORMS, f'{place}.pipeline[{i}]', scope)
        elif not callable(node):
            raise ConfigError(f'{place}.pipeline[{i}]: {node!r}; valid: dict(type=..., ...)')


def _is_remote(dataset: Any) -> Any:
    return bool(dataset.get('backend_args')) or '://' in str(dataset.get('data_root') or '')


def _count(total: Any, length: Any, boxes: int, sample: Any) -> None:
    if total.length is not None:
        total.length += length
        total.boxes += boxes
    if sample is not None:
        total.samples.append(sample)


def _check_coco(
    dataset: Any, place: str, scope: str, action: str, classes: Any, details: Any
) -> tuple:
    data_root = dataset.get('data_root') or ''
    path = Path(data_root, dataset['ann_file'])
    masks = any(
        type_name(t).endswith('LoadAnnotations') and t.get('with_mask')
        for t in dataset.get('pipeline') or ()
        if isinstance(t, dict)
    )
    found = check_coco_file(path, f'{place}.ann_file', classes, masks)
    try:
        used = found.used_images(dataset)
    except (TypeError, IndexError, KeyError, AttributeError) as error:
        raise ConfigError(
            f'{place}: filter_cfg or indices: {error}; valid: filter_cfg=dict(filter_empty_gt=True,'
            f' min_size=32), indices below {len(found.images)}'
        ) from error
    boxes = sum(found.boxes.get(i, 0) for i in used)
    if not used or not boxes:
        details.append(_why_empty(dataset, path, found, used))
    prefix = dataset.get('data_prefix') or {}
    if not isinstance(prefix, dict) or not isinstance(prefix.get('img'), str):
        raise ConfigError(
            f"{place}.data_prefix: {prefix!r}; valid: dict(img='FOLDER'), below the data root"
        )
    folder = prefix['img']
    paths = [os.path.join(data_root, folder, found.images[i]['file_name']) for i in used]
    check_images(paths, dataset, place, action)
    sample = _try_coco(dataset, place, scope, found, action) if used else None
    return len(used), boxes, sample


def _why_empty(dataset: Any, path: str | Path, found: Any, used: Any) -> str:
    reasons = [f'{n} {why}' if n else why for why, (n, *_) in found.ignored.items()]
    filters = dataset.get('filter_cfg')
    if not used and filters and not dataset.get('test_mode'):
        reasons.append(f'filter_cfg={dict(filters)}')
    if not used and dataset.get('indices') is not None:
        reasons.append(f'indices={dataset["indices"]!r}')
    why = f' ({"; ".join(reasons)})' if reasons else ''
    return f'no {"box" if used else "image"} of the {len(found.images)} images of {path}{why}'


def _nothing_left(total: Any, loader: str) -> None:
    """Refuse a loader without an image, or one for training without a box; warn of a part."""
    trains = loader == 'train_dataloader'
    if total.length == 0 or (total.boxes == 0 and trains):
        raise ConfigError(f'{loader}.dataset: nothing is left to use: {"; ".join(total.details)}')
    for line in total.details:
        print_log(f'{loader}.dataset: {line}', 'current', level=30)


def _try_coco(dataset: Any, place: str, scope: str, found: Any, action: str) -> Any:
    """Build the data set around the sample of its file, and take all of it."""
    node = copy.deepcopy(dataset)
    node.update(filter_cfg=None, indices=None, lazy_init=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'sample.json')
        path.write_text(json.dumps(found.sample))
        node['ann_file'] = str(path)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it reads
            return _take(node, place, scope, action)


def _try_voc(dataset: Any, place: str, scope: str, action: str) -> Any:
    node = copy.deepcopy(dataset)
    node.update(filter_cfg=None, indices=None, lazy_init=False)
    names = Path(dataset.get('data_root') or '', dataset['ann_file']).read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'sample.txt')
        path.write_text(names[0] + '\n')
        node['ann_file'] = str(path)
        return _take(node, place, scope, action)


def _take(node: Any, place: str, scope: str, action: str) -> Any:
    """The first sample of a data set, the others tried out."""
    built = build_part(node, root.DATASETS, place, scope)
    first = None
    for index in range(len(built)):
        image = built.get_data_info(index)
        try:
            with undisturbed_rng():
                sample = built.prepare_data(index)
        except Exception as error:  # transforms are anybody's code
            if action == 'skip' and can_skip(node, place) and is_bad_image(error):
                continue
            raise ConfigError(
                f'{place}.pipeline: fails at {image.get("img_path")}, {image.get("width")} x '
                f'{image.get("height")} pixels: {reason(error)}'
            ) from error
        first = sample if first is None else first
    return first if first is None else (first, built.metainfo)
