"""Which objects a student finds that its teacher misses, and the reverse."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..errors import ConfigError
from ..registry import METRICS
from ..teacher import build_teacher
from ..teacher.class_map import ClassMap

# Whether found, by the teacher and by the student, for each object.
Found = tuple[Tensor, Tensor]


def matched_detections(
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor,
    true_boxes: Tensor,
    true_labels: Tensor,
    threshold: float = 0.5,
) -> Tensor:
    """The detection that each object has of its own, as COCO pairs them at one threshold.

    The detections choose in the order of their scores: each the free object of its class that it
    overlaps most.

    Args:
        boxes (Tensor): Detections, (D, 4), as x1, y1, x2, y2.
        labels (Tensor): Their classes, (D,).
        scores (Tensor): (D,).
        true_boxes (Tensor): Objects, (G, 4).
        true_labels (Tensor): Their classes, (G,).
        threshold (float): Least IoU. Defaults to 0.5.

    Returns:
        Tensor: (G,), the index of a detection, or -1 for an object that none finds.
    """
    matched = torch.full((len(true_labels),), -1, device=true_labels.device)
    if not len(boxes) or not len(true_labels):
        return matched
    from torchvision.ops import box_iou  # detectors alone need it

    overlap = box_iou(boxes, true_boxes)
    overlap[labels[:, None] != true_labels] = 0
    for index in scores.argsort(descending=True):
        free = overlap[index].masked_fill(matched >= 0, 0)
        best = free.argmax()
        if free[best] >= threshold:
            matched[best] = index
    return matched


def found_objects(
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor,
    true_boxes: Tensor,
    true_labels: Tensor,
    threshold: float = 0.5,
) -> Tensor:
    """Which objects have a detection of their own; see :func:`matched_detections`.

    Args:
        boxes, labels, scores, true_boxes, true_labels, threshold: Likewise.

    Returns:
        Tensor: (G,) bool.
    """
    return matched_detections(boxes, labels, scores, true_boxes, true_labels, threshold) >= 0


@METRICS.register_module()
class FoundObjects(BaseMetric):
    """Runs a teacher beside the detector that is tested, and compares what they find.

    The teacher gets the data as they come from the loader, and prepares them by its own data
    preprocessor. Crowd regions count as neither found nor missed.

    Args:
        teacher (dict): The arguments of :class:`btkd_det.models.Teacher`, for a detector.
        score (float): Least score of a detection that counts. Defaults to 0.3.
        threshold (float): Least IoU. Defaults to 0.5.
        collect_device (str): As MMEngine's. Defaults to ``'cpu'``.
        prefix (str, optional): Of the metrics' names. Defaults to ``'teacher'``.

    Raises:
        ConfigError: The teacher does not build; while it runs, the data have no annotations.

    Returns from ``compute_metrics``: ``objects``; ``found`` and ``teacher_found``, of both;
    ``beyond``, those that the student finds and the teacher misses; ``lost``, the reverse.
    """

    default_prefix = 'teacher'

    def __init__(
        self,
        teacher: dict[str, Any],
        score: float = 0.3,
        threshold: float = 0.5,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.teacher = build_teacher(teacher).to(get_device())
        self.score, self.threshold = score, threshold

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Pair the detections of both with the objects of each image of a batch.

        Args:
            data_batch (dict): As the data loader gave it.
            data_samples (Sequence[dict]): The student's outputs.
        """
        for sample, its in zip(data_samples, self._predict(data_batch), strict=True):
            if 'gt_instances' not in sample:
                raise ConfigError(
                    'test_dataloader: its pipeline loads no annotations, so nobody knows what a '
                    "teacher misses; valid: LoadAnnotations after Resize, and 'instances' in "
                    'the data set'
                )
            truth = sample['gt_instances']
            pair = [self._found(found, truth) for found in (its, sample['pred_instances'])]
            self.results.append(tuple(pair))

    def compute_metrics(self, results: list[Found]) -> dict[str, int]:
        """The counts over all images."""
        its, own = (torch.cat(part) for part in zip(*results, strict=True))
        return dict(
            objects=len(own),
            found=int(own.sum()),
            teacher_found=int(its.sum()),
            beyond=int((own & ~its).sum()),
            lost=int((its & ~own).sum()),
        )

    @torch.no_grad()
    def _predict(self, data_batch: dict[str, Any]) -> list[Mapping[str, Tensor]]:
        """The teacher's detections, in the student's classes."""
        model = self.teacher.model
        data = model.data_preprocessor(data_batch, training=False)
        with self.teacher.at_work(data['inputs'].device.type):
            samples = model(**data, mode='predict')
        if self.teacher.class_map is not None:
            class_map = ClassMap(self.teacher.class_map)
            samples = [class_map.prediction(sample) for sample in samples]
        return [sample.pred_instances.to_dict() for sample in samples]

    def _found(self, found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
        sure = found['scores'] >= self.score
        boxes, labels, scores = (
            torch.as_tensor(found[name])[sure].cpu() for name in ('bboxes', 'labels', 'scores')
        )
        true_boxes = torch.as_tensor(getattr(truth['bboxes'], 'tensor', truth['bboxes'])).cpu()
        true_labels = torch.as_tensor(truth['labels']).cpu()
        return found_objects(boxes, labels, scores, true_boxes, true_labels, self.threshold)
