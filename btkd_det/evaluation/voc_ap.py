"""VOC's AP, each class apart."""

from typing import Any

from mmdet.evaluation import VOCMetric, eval_map

from ..registry import METRICS


@METRICS.register_module()
class VocAP(VOCMetric):
    """MMDetection's ``VOCMetric``, which with ``classwise`` also tells the AP of each class.

    Args:
        *args, **kwargs: As ``VOCMetric``.
        classwise (bool): Defaults to False.

    Returns from ``compute_metrics``: what ``VOCMetric`` gives and, with ``classwise``,
    ``AP50/<class>`` (-1 for a class without objects), unrounded.
    """

    def __init__(self, *args: Any, classwise: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.classwise = classwise

    def compute_metrics(self, results: Any) -> Any:
        """As ``VOCMetric``'s."""
        values = super().compute_metrics(results)
        if not self.classwise or self.metric != 'mAP':
            return values
        truths, predictions = zip(*results, strict=True)
        for threshold in self.iou_thrs:
            _, classes = eval_map(
                list(predictions),
                list(truths),
                scale_ranges=self.scale_ranges,
                iou_thr=threshold,
                logger='silent',
                eval_mode=self.eval_mode,
                use_legacy_coordinate=True,
            )
            for name, found in zip(self.dataset_meta['classes'], classes, strict=True):
                ap = float(found['ap']) if found['num_gts'] else -1.0
                values[f'AP{int(threshold * 100):02d}/{name}'] = ap
        return values
