"""Data loaders to look through a data set once, with images and boxes in one frame."""

import copy
from typing import Any

from mmengine.registry import DATA_SAMPLERS

from ..config.named_types import builds, is_type
from ..config.reading import type_name

#: Keys of a data set's config under which other data sets stand.
WRAPPED = ('dataset', 'datasets', 'unlabeled_dataset', 'labeled_dataset')


def one_pass(loader: dict[str, Any]) -> dict[str, Any]:
    """The config of a data loader that gives every image once, annotated in its own pixels.

    A sampler without an end (``InfiniteSampler``, of iteration-based training) gives way to one
    with an end. In every pipeline what loads comes first: MMDetection's pipelines for testing
    load the annotations after the image is resized, for its evaluators compare in pixels of the
    file, and boxes would lie elsewhere than the objects that the model sees.

    Args:
        loader (dict): The config of a data loader.

    Returns:
        dict: A copy.
    """
    loader = copy.deepcopy(loader)
    sampler = loader.get('sampler')
    if builds(sampler, DATA_SAMPLERS, 'mmengine', 'InfiniteSampler'):
        loader['sampler'] = dict(type='DefaultSampler', shuffle=sampler.get('shuffle', True))
    _load_first(loader.get('dataset'))
    return loader


def _load_first(dataset: Any) -> None:
    """Put the loading steps of a data set's pipelines first, in place, those it wraps included."""
    if isinstance(dataset, (list, tuple)):
        for part in dataset:
            _load_first(part)
    if not isinstance(dataset, dict):
        return
    pipeline = dataset.get('pipeline')
    if isinstance(pipeline, (list, tuple)):
        dataset['pipeline'] = _loading_first(pipeline)
    for key in WRAPPED:
        _load_first(dataset.get(key))


def _loading_first(pipeline: Any) -> list[Any]:
    """The steps that load, then the others; likewise within what skips bad images."""
    for step in pipeline:
        if is_type(step, 'btkd_det', 'SkipBadImages'):
            step['transforms'] = _loading_first(step['transforms'])
    # Sorting is stable: the loading steps keep their order, and so do the others.
    return sorted(pipeline, key=lambda step: not _loads(step))


def _loads(step: Any) -> Any:
    return isinstance(step, dict) and type_name(step).startswith('Load')
