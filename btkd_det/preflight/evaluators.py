"""The evaluators' annotations are those of the data that they are given."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import METRICS

from ..checks import check_file
from ..config.named_types import builds, is_type
from ..config.reading import metrics_of, type_name
from ..errors import ConfigError
from ..models.data_classes import listed
from .annotations import check_coco_file


def is_coco_metric(evaluator: Any, scope: str | None) -> bool:
    """Whether a metric is MMDetection's of COCO; see :func:`measures_coco`."""
    return builds(evaluator, METRICS, 'mmdet', 'CocoMetric', scope=scope)


def measures_coco(evaluator: Any, scope: str | None) -> bool:
    """Whether a metric is MMDetection's of COCO, or ours.

    Args:
        evaluator (dict): The metric's config.
        scope (str | None): The default scope.

    Returns:
        bool: False for a class of the user's, of which nothing is known.
    """
    return is_type(evaluator, 'btkd_det', 'CocoAP') or is_coco_metric(evaluator, scope)


def check_evaluator(cfg: Config, split: str, parts: list[tuple[dict[str, Any], str]]) -> None:
    """Hold the annotation file of an evaluator against that of its data loader.

    Args:
        cfg (Config): The whole config, its data's files checked.
        split (str): ``'val'`` or ``'test'``.
        parts (list[tuple[dict, str]]): The innermost data sets of the loader, each with its field.

    Raises:
        ConfigError: The file is missing or damaged, or lists other images or categories than the
            data.
    """
    given, loader = cfg.get(f'{split}_evaluator'), cfg.get(f'{split}_dataloader')
    if not given or not loader:
        return
    place = f'{split}_evaluator'
    inner = given
    if isinstance(given, dict) and 'metrics' in given:
        place, inner = f'{place}.metrics', given['metrics']
    several = isinstance(inner, (list, tuple))
    indices = {field: dataset.get('indices') for dataset, field in parts}
    chosen = {field: value for field, value in indices.items() if value is not None}
    for i, evaluator in enumerate(metrics_of(given)):
        if not measures_coco(evaluator, cfg.get('default_scope')):
            continue
        path = evaluator.get('ann_file')
        field = f'{place}[{i}].ann_file' if several else f'{place}.ann_file'
        if not path or '://' in str(path):
            continue
        datasets = _coco_files(_measured(given, parts, i))
        valid = f'the annotation file of {split}_dataloader{_named(datasets)}'
        check_file(field, path, valid)
        _check_same_images(Path(path), datasets, field, chosen)


def _measured(given: Any, parts: list, index: int) -> list:
    """The data sets that an evaluator's metric measures; [] where nobody knows."""
    if type_name(given) != 'MultiDatasetsEvaluator':
        return parts
    # One metric for each data set, in their order.
    return [parts[index]] if len(parts) == len(metrics_of(given)) else []


def _check_same_images(path: str | Path, datasets: Any, field: str, chosen: Any) -> None:
    """Raise where an evaluator's file lists other images or categories than the data's files.

    ``chosen`` has the ``indices`` of the data sets that use a part of their file: what the
    evaluator expects beyond that is the user's choice.
    """
    if datasets and all(path.resolve() == other.resolve() for _, other in datasets):
        return
    own = _listed(path, field)
    images, categories = {}, {}
    for place, other in datasets:
        try:
            found = _listed(other, place, chosen.get(place))
        except (ConfigError, TypeError, IndexError):
            # Its own check says what is wrong with it, where its data set reads it as COCO's.
            return
        images |= found[0]
        categories |= found[1]
    if not datasets:
        return
    differing = [i for i in images if own[0].get(i, images[i]) != images[i]]
    lacking = [i for i in images if i not in own[0]]
    extra = [] if chosen else [i for i in own[0] if i not in images]
    for what, ids in (
        ('lists other file names for', differing),
        ('does not list', lacking),
        ('expects', extra),
    ):
        if ids:
            also = ' more' if ids is extra else ''
            raise ConfigError(
                f'{field}: {path} {what} {len(ids)}{also} images (id {ids[0]!r}) '
                f'{"than" if ids is extra else "of"} the data{_named(datasets)}, so what is '
                f'predicted would be held against other images; valid: '
                f'{", ".join(str(other) for _, other in datasets)}'
            )
    if own[1] != categories:
        raise ConfigError(
            f'{field}: {path} has the categories {listed(list(own[1]))} under the ids '
            f'{list(own[1].values())[:10]}, but the data{_named(datasets)} '
            f'{listed(list(categories))} under {list(categories.values())[:10]}; valid: '
            f'{", ".join(str(other) for _, other in datasets)}'
        )


def _listed(path: str | Path, field: str, indices: Any = None) -> tuple:
    """File name by image id, and id by category name."""
    found = check_coco_file(path, field)
    used = found.used_images(dict(indices=indices))
    images = {key: found.images[key].get('file_name') for key in used}
    return images, {entry['name']: entry['id'] for entry in found.sample['categories']}


def _coco_files(datasets: Any) -> Any:
    """The annotation files of data sets, (field, path); [] where one has another format."""
    found = []
    for dataset, field in datasets:
        path = dataset.get('ann_file')
        if not path or Path(path).suffix != '.json':
            return []
        path = Path(dataset.get('data_root') or '', path)
        if not path.is_file():
            return []
        found.append((field, path))
    return found


def _named(datasets: Any) -> str:
    return f' ({datasets[0][0]}: {datasets[0][1]})' if datasets else ''
