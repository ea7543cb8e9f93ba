"""How a student stands to its teacher: where it agrees, and where it is better."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ..registry import METRICS
from ..teacher import build_teacher


def agreement(labels: Tensor, student: Tensor, teacher: Tensor) -> dict[str, float | int]:
    """Count on which rows a student follows its teacher, and on which it knows better.

    Args:
        labels (Tensor): Class index of each row, (N,).
        student (Tensor): The student's choice, (N,).
        teacher (Tensor): The teacher's choice, (N,).

    Returns:
        dict[str, float | int]: ``top1`` (of the teacher), ``agreement`` (rows of the same
        choice), ``beyond_share`` (of the rows where the teacher is wrong, those that the student
        gets right) and ``kept_share`` (of those where it is right, those that the student gets
        right) in percent, or -1 where there is no row to count; ``wrong``, ``beyond``,
        ``right`` and ``kept``, the numbers of these rows.
    """
    right, good = teacher == labels, student == labels
    counts = dict(
        wrong=int((~right).sum()),
        beyond=int((~right & good).sum()),
        right=int(right.sum()),
        kept=int((right & good).sum()),
    )
    return dict(
        top1=_percent(counts['right'], len(labels)),
        agreement=_percent(int((student == teacher).sum()), len(labels)),
        beyond_share=_percent(counts['beyond'], counts['wrong']),
        kept_share=_percent(counts['kept'], counts['right']),
        **counts,
    )


@METRICS.register_module()
class TeacherAgreement(BaseMetric):
    """Runs a teacher beside the student that is tested, and compares their choices.

    The teacher gets the data as they come from the loader, and prepares them by its own data
    preprocessor.

    Args:
        teacher (dict): The arguments of :class:`btkd_det.models.Teacher`, for a classifier.
        collect_device (str): As MMEngine's. Defaults to ``'cpu'``.
        prefix (str, optional): Of the metrics' names. Defaults to ``'teacher'``.

    Raises:
        ConfigError: The teacher is not described by config and checkpoint, or does not build.

    Returns from ``compute_metrics``: what :func:`agreement` gives.
    """

    default_prefix = 'teacher'

    def __init__(
        self, teacher: dict[str, Any], collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.teacher = build_teacher(teacher).to(get_device())

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Note label, the student's choice and the teacher's of each image of a batch.

        Args:
            data_batch (dict): As the data loader gave it.
            data_samples (Sequence[dict]): The student's outputs.
        """
        choices = self.choices(data_batch).cpu()
        for sample, choice in zip(data_samples, choices, strict=True):
            label = sample['gt_label']
            self.results.append((int(label), int(sample['pred_label']), int(choice)))

    def choices(self, data_batch: Any) -> Any:
        """The teacher's choice for each image of a batch, (N,), in the student's classes."""
        model = self.teacher.model
        data = model.data_preprocessor(data_batch, training=False)
        with self.teacher.at_work(data['inputs'].device.type):
            logits = model(data['inputs'], mode='tensor')
        if self.teacher.class_map is not None:
            logits = logits[:, self.teacher.class_map]
        return logits.argmax(dim=1)

    def compute_metrics(self, results: Any) -> Any:
        """As :func:`agreement`, over all images."""
        return agreement(*torch.tensor(results).unbind(dim=1))


def _percent(part: Any, whole: Any) -> Any:
    return 100 * part / whole if whole else -1.0
