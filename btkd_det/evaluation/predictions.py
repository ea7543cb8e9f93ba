"""Predictions as a file, in the format of COCO's results."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from ..checkpoint.writing import write_text
from ..errors import ConfigError
from ..registry import METRICS


@METRICS.register_module()
class CocoPredictions(BaseMetric):
    """Writes what a detector predicts as a JSON list of COCO's results, and measures nothing.

    Each entry has ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels of the
    file), ``score`` and, of a model with masks, ``segmentation``.

    Args:
        file (str | Path): Where to write; its folder is made.
        ann_file (str, optional): COCO's annotations, whose category ids are taken. Without them
            a class's id is its place among the data set's classes, from 1 on.
        collect_device (str): As MMEngine's. Defaults to ``'cpu'``.
    """

    def __init__(
        self, file: str | Path, ann_file: str | None = None, collect_device: str = 'cpu'
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.file = Path(file)
        self.ann_file = ann_file

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Note the predictions of a batch.

        Args:
            data_batch (dict): Not read.
            data_samples (Sequence[dict]): The model's outputs.

        Raises:
            ConfigError: They hold no boxes with classes and scores.
        """
        for sample in data_samples:
            found = sample.get('pred_instances')
            if found is None or not {'bboxes', 'labels', 'scores'} <= set(found.keys()):
                raise ConfigError(
                    '--predictions: this model gives no boxes with classes and scores; valid is a '
                    'detector'
                )
            boxes = found['bboxes'].detach().cpu().float().clone()
            boxes[:, 2:] -= boxes[:, :2]
            self.results.append(
                dict(
                    image=sample['img_id'],
                    boxes=boxes.tolist(),
                    labels=found['labels'].tolist(),
                    scores=found['scores'].tolist(),
                    masks=_encoded(found['masks']) if 'masks' in found else None,
                )
            )

    def compute_metrics(self, results: Any) -> dict[str, Any]:
        """Write the file; no metric comes back."""
        categories = self._categories()
        entries = []
        for image in results:
            columns = zip(image['boxes'], image['labels'], image['scores'], strict=True)
            for i, (box, label, score) in enumerate(columns):
                entry = dict(image_id=image['image'], category_id=categories[label])
                entry.update(bbox=box, score=score)
                if image['masks'] is not None:
                    entry['segmentation'] = image['masks'][i]
                entries.append(entry)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.file, json.dumps(entries) + '\n')
        return {}

    def _categories(self) -> list[Any]:
        """Category id of each label."""
        classes = self.dataset_meta['classes']
        if self.ann_file is None:
            return list(range(1, len(classes) + 1))
        # Not before it is needed: the data sets need MMCV.
        from ..datasets.coco_json import read_json

        listed = read_json(self.ann_file)['categories']
        # CocoDataset numbers labels in the order of the file.
        return [entry['id'] for entry in listed if entry['name'] in classes]


def _encoded(masks: Any) -> list[Any]:
    """Masks (R, H, W) as COCO's run-length codes, as JSON holds them."""
    from mmdet.structures.mask import encode_mask_results

    masks = masks.detach().cpu().numpy() if hasattr(masks, 'detach') else masks
    return [dict(code, counts=code['counts'].decode()) for code in encode_mask_results(masks)]
