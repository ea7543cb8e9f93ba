"""The evaluators that ``tools/test.py`` puts in the place of the config's."""

import copy
from typing import Any

from mmengine.config import Config

from ..config.reading import type_name
from ..errors import ConfigError

#: What COCO's twelve numbers are of. Anything else stays MMDetection's.
KINDS = {'bbox', 'segm'}


def prepare_evaluators(
    cfg: Config,
    classwise: bool = False,
    class_count: int | None = None,
    predictions: str | None = None,
    fast: bool = False,
) -> list[dict[str, Any]]:
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
        list[dict]: Evaluators.

    Raises:
        ConfigError: ``predictions`` of a classifier.
    """
    given = cfg.test_evaluator
    evaluators = copy.deepcopy(list(given) if isinstance(given, (list, tuple)) else [given])
    for evaluator in evaluators:
        name = type_name(evaluator)
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
        evaluators.append(dict(metric, ann_file=next(filter(None, files), None)))
    return evaluators


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
