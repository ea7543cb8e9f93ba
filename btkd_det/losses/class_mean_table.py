"""IKD's table: the mean of the teacher's logits over the rows of each class."""

import torch
from torch import Tensor

from ..errors import ConfigError
from .class_means import ClassMeans
from .ranks import sum_over_ranks


def add_rows(means: Tensor, counts: Tensor, logits: Tensor, labels: Tensor, kept: Tensor) -> None:
    """Add a batch, of all ranks together, to a table of moving means, in place.

    Args:
        means (Tensor): Row y the mean logits of class y so far, (C, C).
        counts (Tensor): Rows of each class so far, (C,).
        logits (Tensor): The teacher's, (N, C).
        labels (Tensor): (N,).
        kept (Tensor): Rows to add, (N,) bool.
    """
    kept = kept.unsqueeze(1)
    values = logits.detach().to(means.dtype).masked_fill(~kept, 0)
    rows = torch.cat([values, kept.to(values.dtype)], dim=1)
    batch = rows.new_zeros(means.shape[0], means.shape[1] + 1)
    batch.index_add_(0, labels, rows)
    sum_over_ranks(batch)
    sums, added = batch[:, :-1], batch[:, -1:]
    counts.add_(added.squeeze(1))
    # A moving mean and not a sum: the table is ready for use at any time.
    rows_so_far = counts.clamp(min=1).unsqueeze(1)
    means.add_((sums - means * added) / rows_so_far)


def has_rows(counts: Tensor, background: bool = True) -> bool:
    """Whether there is a row of any class that takes part.

    Args:
        counts (Tensor): Rows of each class, (C,).
        background (bool): Whether the last class takes part. Defaults to True.
    """
    return bool((counts if background else counts[:-1]).gt(0).any())


def check_has_rows(file: ClassMeans, background: bool) -> None:
    """Raise a ConfigError where a file has rows of no class that takes part.

    Args:
        file (ClassMeans): The file.
        background (bool): Whether the last class takes part.
    """
    if not has_rows(file.counts, background):
        classes = '' if background else ', the background apart'
        raise ConfigError(
            f'class_means: {file.path} has no rows of any class{classes}, so that the term would '
            'be 0 for ever; valid: a file that tools/class_means.py wrote of data with these '
            'classes'
        )


def check_collects(collect_epochs: int, collect_iters: int | None) -> None:
    field, value = 'collect_epochs', collect_epochs
    if collect_iters is not None:
        field, value = 'collect_iters', collect_iters
    if value == 0:
        raise ConfigError(
            f'{field}: 0 collects nothing, so that the term would be 0 for ever; valid: 1 or more, '
            'or class_means, a file that tools/class_means.py wrote'
        )
