"""The evaluators that ``tools/test.py`` puts in the place of the config's."""

import copy
from typing import Any

from mmengine.config import Config
from mmengine.registry import METRICS

from ..config.named_types import builds
from ..config.reading import metrics_of, type_name
from ..errors import ConfigError

#: What COCO's twelve numbers are of. Anything else stays MMDetection's.
KINDS = {'bbox', 'segm'}


def prepare_evaluators(
    cfg: Config,
    classwise: bool = False,
    class_count: int | None = None,
    predictions: str | None = None,
    fast: bool = False,
) -> list[dict[str, Any]] | dict[str, Any]:
    """The evaluators of a test.

    ``CocoMetric`` of boxes or masks becomes :class:`~btkd_det.evaluation.CocoAP`, with its
    ``format_only`` and ``outfile_prefix``; one that counts proposals stays. ``VOCMetric`` becomes
    :class:`~btkd_det.evaluation.VocAP`. ``Accuracy`` counts the top k that its config asks for, or
    1 and 5, as far as there are as many classes: MMPretrain's fails else, after the whole test.

    Args:
        cfg (Config): The whole config, with ``test_evaluator``.
        classwise (bool): AP of each class.
        class_count (int, optional): How many classes a classifier tells apart.
        predictions (str, optional): Where to write what a detector predicts.
        fast (bool): COCO's numbers by :func:`~btkd_det.evaluation.coco_numbers`'s fast way.

    Returns:
        list[dict] | dict: Evaluators; the config's own ``dict(type=..., metrics=...)`` around
        them, where it has one.

    Raises:
        ConfigError: ``predictions`` of a classifier, or as in :func:`with_metric`.
    """
    given = copy.deepcopy(cfg.test_evaluator)
    evaluators = metrics_of(given)
    for evaluator in evaluators:
        name = _known_metric(evaluator, cfg.get('default_scope'))
        if name == 'CocoMetric' and set(_listed(evaluator.get('metric', 'bbox'))) <= KINDS:
            for key in ('proposal_nums', 'metric_items', 'iou_thrs', 'use_mp_eval'):
                evaluator.pop(key, None)
            evaluator.update(type='btkd_det.CocoAP', classwise=classwise, fast=fast)
        elif name == 'VOCMetric':
            evaluator.update(type='btkd_det.VocAP', classwise=classwise)
        elif name == 'Accuracy':
            wanted = [int(k) for k in _listed(evaluator.get('topk', (1, 5)))]
            possible = [k for k in wanted if class_count is None or k <= class_count]
            if class_count is None and 'topk' not in evaluator:
                possible = [1]
            evaluator['topk'] = tuple(possible or [1])
    if predictions is not None:
        if type_name(cfg.model).endswith('Classifier'):
            raise ConfigError(
                f'--predictions: {predictions}, but {type_name(cfg.model)} gives no boxes; valid '
                'is a detector'
            )
        files = [evaluator.get('ann_file') for evaluator in evaluators]
        metric = dict(type='btkd_det.CocoPredictions', file=str(predictions))
        metric['ann_file'] = next(filter(None, files), None)
        return with_metric(_around(given, evaluators), metric, f'--predictions: {predictions}')
    return _around(given, evaluators)


def _known_metric(evaluator: Any, scope: str | None) -> str | None:
    """The name of a metric of the hosts' that :func:`prepare_evaluators` knows, else None."""
    known = (('mmdet', 'CocoMetric'), ('mmdet', 'VOCMetric'), ('mmpretrain', 'Accuracy'))
    found = (name for host, name in known if builds(evaluator, METRICS, host, name, scope=scope))
    return next(found, None)


def with_metric(
    evaluator: list[dict[str, Any]] | dict[str, Any], metric: dict[str, Any], given: str
) -> list[dict[str, Any]] | dict[str, Any]:
    """An evaluator with one more metric.

    Args:
        evaluator (list[dict] | dict): As :func:`prepare_evaluators` gives it.
        metric (dict): The metric's config.
        given (str): The option that it comes from, and its value.

    Returns:
        list[dict] | dict: A new one, of the same form.

    Raises:
        ConfigError: MMDetection's ``MultiDatasetsEvaluator``, whose metrics have a data set each.
    """
    name = type_name(evaluator)
    if name == 'MultiDatasetsEvaluator':
        raise ConfigError(
            f'{given}, but test_evaluator is a {name}, whose metrics are of one data set each; '
            'valid: one data set with a metric, or a list of them'
        )
    return _around(evaluator, [*metrics_of(evaluator), metric])


def _around(evaluator: Any, metrics: list[dict[str, Any]]) -> Any:
    """The metrics in the form that an evaluator's config has."""
    wrapped = isinstance(evaluator, dict) and 'metrics' in evaluator
    return dict(evaluator, metrics=metrics) if wrapped else metrics


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
