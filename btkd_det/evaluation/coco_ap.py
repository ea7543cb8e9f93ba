"""The twelve numbers of COCO, as COCO's own table gives them."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import MMLogger
from pycocotools.cocoeval import COCOeval

from ..datasets.coco_json import number_anew
from ..errors import ConfigError
from ..registry import METRICS

COCO_NUMBERS = (
    'AP',
    'AP50',
    'AP75',
    'APs',
    'APm',
    'APl',
    'AR1',
    'AR10',
    'AR100',
    'ARs',
    'ARm',
    'ARl',
)


def coco_numbers(
    ground_truth: Any,
    detections: list[dict[str, Any]],
    iou_type: str = 'bbox',
    image_ids: list[int] | None = None,
    category_ids: list[int] | None = None,
    fast: bool = False,
) -> tuple[dict[str, float], dict[str, float]]:
    """Evaluate detections by pycocotools with COCO's own settings.

    Args:
        ground_truth (pycocotools.coco.COCO): The annotations; those without an id of their own
            from 1 on are counted under a new one, as pycocotools would never find them.
        detections (list[dict]): COCO results: ``image_id``, ``category_id``, ``score`` and
            ``bbox`` (x, y, width, height in pixels) or ``segmentation``.
        iou_type (str): ``'bbox'`` or ``'segm'``.
        image_ids (list[int], optional): The images to count. All by default.
        category_ids (list[int], optional): The categories to count. All by default.
        fast (bool): Count by faster-coco-eval, whose inner loops are compiled: the same numbers.

    Returns:
        tuple[dict[str, float], dict[str, float]]: The twelve numbers by the names of
        :data:`COCO_NUMBERS`, in [0, 1], or -1 where there is nothing to count (COCO's
        convention); and AP by category name.

    Raises:
        ConfigError: ``fast`` without faster-coco-eval.
    """
    api, kind = _fast_evaluation() if fast else (None, COCOeval)
    # Both evaluations put them into this order, whatever that of the file.
    category_ids = sorted(category_ids or ground_truth.getCatIds())
    names = [ground_truth.loadCats([i])[0]['name'] for i in category_ids]
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = _with_own_ids(ground_truth)
        if api is not None:
            ground_truth = api(ground_truth.dataset)
        results = _results(ground_truth, detections)
        evaluation = kind(ground_truth, results, iou_type)
        evaluation.params.imgIds = image_ids or ground_truth.getImgIds()
        evaluation.params.catIds = category_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    by_class = {name: _mean(precision[:, :, i]) for i, name in enumerate(names)}
    # The fast one has further numbers behind COCO's.
    stats = evaluation.stats[: len(COCO_NUMBERS)]
    return dict(zip(COCO_NUMBERS, map(float, stats), strict=True)), by_class


@METRICS.register_module()
class CocoAP(CocoMetric):
    """COCO's twelve numbers, unrounded, at most 100 detections an image.

    MMDetection's ``CocoMetric`` counts recall at 100, 300 and 1000 detections and rounds to
    three digits; this one gives the numbers that COCO's server and its published tables give.

    Args:
        fast (bool): See :func:`coco_numbers`.
        **kwargs: As ``CocoMetric``: ``ann_file``, ``metric`` (``'bbox'``, ``'segm'`` or a list
            of both), ``classwise``, ``outfile_prefix``, ``format_only``, ``backend_args``.

    Raises:
        ConfigError: ``fast`` without faster-coco-eval.

    Returns from ``compute_metrics``: ``bbox_AP`` ... ``bbox_ARl`` and, with ``classwise``,
    ``bbox_AP/<class>``; nothing with ``format_only``, which only writes the results' files.
    """

    def __init__(self, *args: Any, fast: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if fast:
            _fast_evaluation()
        self.fast = fast

    def compute_metrics(self, results: Any) -> dict[str, Any] | dict[Any, Any]:
        ground_truths, predictions = zip(*results, strict=True)
        with tempfile.TemporaryDirectory() as folder:
            prefix = str(Path(folder) / 'results')
            self._prepare(ground_truths, prefix)
            if self.outfile_prefix is not None:
                prefix = str(self.outfile_prefix)
                Path(prefix).parent.mkdir(parents=True, exist_ok=True)
            files = self.results2json(predictions, prefix)
            if self.format_only:
                return {}
            return {
                key: value
                for metric in self.metrics
                for key, value in self._evaluate(metric, load(files[metric])).items()
            }

    def _prepare(self, ground_truths: Any, prefix: str) -> None:
        if self._coco_api is None:
            from mmdet.datasets.api_wrappers import COCO as MMDetCOCO

            self._coco_api = MMDetCOCO(self.gt_to_coco_json(ground_truths, prefix))
        if self.cat_ids is None:
            # The order of the file, not of the names: the data set numbers its labels so.
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
        if self.img_ids is None:
            self.img_ids = self._coco_api.get_img_ids()

    def _evaluate(self, metric: Any, detections: Any) -> Any:
        if metric == 'segm':
            # With a box present COCO would take the box's area for the mask's.
            for detection in detections:
                detection.pop('bbox', None)
        if not detections:
            MMLogger.get_current_instance().warning('no detections at all')
        numbers, by_class = coco_numbers(
            self._coco_api, detections, metric, self.img_ids, self.cat_ids, self.fast
        )
        values = {f'{metric}_{name}': value for name, value in numbers.items()}
        if self.classwise:
            values.update({f'{metric}_AP/{name}': value for name, value in by_class.items()})
        return values


def _fast_evaluation() -> tuple[Any, Any]:
    """The classes of faster-coco-eval, which not every MMDetection brings."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ConfigError(
            f'fast: True, but faster-coco-eval is not there ({error}); valid: False, or '
            'pip install faster-coco-eval'
        ) from error
    return COCO, COCOeval_faster


def _with_own_ids(ground_truth: Any) -> Any:
    """The same annotations, or a copy where ids have to be changed."""
    annotations = [dict(annotation) for annotation in ground_truth.dataset.get('annotations', ())]
    return _copied(ground_truth, annotations) if number_anew(annotations) else ground_truth


def _copied(ground_truth: Any, annotations: list[dict[str, Any]]) -> Any:
    """The same images and categories with other annotations."""
    copied = type(ground_truth)()
    copied.dataset = {**ground_truth.dataset, 'annotations': annotations}
    copied.createIndex()
    return copied


def _results(ground_truth: Any, detections: Any) -> Any:
    """Detections as pycocotools takes them; its own ``loadRes`` fails without any."""
    return ground_truth.loadRes(detections) if detections else _copied(ground_truth, [])


def _mean(precision: Any) -> Any:
    counted = precision[precision > -1]
    return float(np.mean(counted)) if counted.size else -1.0
