"""A teacher's mean logits per class, gathered over the training data before distilling."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import ConfigError
from ..hints import Model
from ..losses import IKDLoss
from ..losses.class_mean_table import has_rows
from ..provenance import describe_teacher, digest, sample_digest
from .rows import check_some_finite, walk


def gather(
    model: Model,
    loader: Iterable[dict[str, Any]],
    only_right: bool = False,
    report: Callable[[], None] | None = None,
) -> dict[str, Tensor]:
    """Run a model over training data and average its logits per class.

    The rows are those of :func:`~btkd_det.report.rows.walk`. A student that collects while it
    trains counts its own RoIs instead of the teacher's.

    Args:
        model (nn.Module): The teacher, a classifier of MMPretrain or a two-stage detector of
            MMDetection, its weights loaded, on its device.
        loader (Iterable[dict]): Batches as MMEngine's data loaders give them.
        only_right (bool): Count the rows alone on which the model is right. Defaults to False.
        report (Callable[[], None], optional): Called after each batch.

    Returns:
        dict[str, Tensor]: ``class_means``, (C, C) float64, and ``class_counts``, (C,), for
        :class:`~btkd_det.losses.IKDLoss`; and ``left_out`` (int), the rows that are not finite.

    Raises:
        ConfigError: The model is of neither kind, there was no batch, or no row to count.
    """
    table, count, left_out = None, 0, 0
    for _, parts in walk(model, loader, report):
        for rows in parts:
            if table is None:
                classes = rows.logits.shape[1]
                table = IKDLoss(classes, only_right=only_right).to(rows.logits.device)
            table.update(rows.logits, rows.labels)
            count, left_out = count + len(rows.labels), left_out + rows.left_out
    if table is None:
        raise ConfigError('CONFIG.train_dataloader: gave no batch; valid is a set with images')
    check_some_finite(count, left_out)
    means, counts = table.class_means.cpu(), table.class_counts.cpu()
    if not has_rows(counts):
        raise ConfigError(_no_row(count, only_right))
    return dict(class_means=means, class_counts=counts, left_out=left_out)


def _no_row(count: int, only_right: bool) -> str:
    """Why training would refuse the means."""
    if count and only_right:
        return (
            f'--only-right: the teacher is right on none of {count} rows, so that there is no mean '
            'of any class; valid: no --only-right, or a teacher that has learned these classes'
        )
    return (
        'CONFIG.train_dataloader: the teacher gave no row, so that there is no mean of any class; '
        'valid is a set with objects of its classes'
    )


def describe(
    cfg: Config, checkpoint: str | Path, dataset: Dataset, class_names: Sequence[str] | None
) -> dict[str, Any]:
    """What the file of class means has to say of the teacher and the data.

    Args:
        cfg (Config): The teacher's own, plain.
        checkpoint (str | Path): Its weights.
        dataset (Dataset): Whose rows were counted.
        class_names (Sequence[str] | None): In the teacher's order.

    Returns:
        dict: The header for :func:`btkd_det.losses.class_means.write_class_means`.
    """
    model = dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    found = describe_teacher(model, checkpoint)
    found['classes'] = None if class_names is None else list(class_names)
    if hasattr(dataset, 'get_data_info') and hasattr(dataset, '__len__'):
        infos = map(dataset.get_data_info, range(len(dataset)))
        found['labels'] = digest([_labels(info) for info in infos])
        found['images'] = sample_digest(dataset)
    return found


def _labels(info: Any) -> Any:
    """The classes of an image, or of the objects in it."""
    if 'gt_label' in info:
        return np.ravel(info['gt_label']).tolist()
    return [instance.get('bbox_label') for instance in info.get('instances', ())]
