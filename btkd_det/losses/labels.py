"""Labels that a loss is given."""

import torch
from torch import Tensor


def class_indices(labels: Tensor, logits: Tensor, name: str) -> Tensor:
    """Labels as class indices, one for each row.

    Args:
        labels (Tensor): (N,) of any type of whole numbers.
        logits (Tensor): (N, C).
        name (str): Of the loss, for the error.

    Returns:
        Tensor: (N,) int64.

    Raises:
        ValueError: They have another shape or are no whole numbers; on a CPU also where one is no
            class. A GPU says so itself, when it looks the class up.
    """
    rows, classes = logits.shape
    if labels.shape != (rows,):
        raise ValueError(
            f'{name}: labels of shape {tuple(labels.shape)} for logits of shape '
            f'{tuple(logits.shape)}; valid: one class index for each row, ({rows},)'
        )
    whole = not labels.is_floating_point() and not labels.is_complex()
    if rows and (not whole or labels.dtype == torch.bool):
        raise ValueError(
            f'{name}: labels of {labels.dtype}; valid: class indices of a type of whole numbers, '
            'such as torch.int64'
        )
    labels = labels.long()
    # Where nothing has to wait for it: by NumPy, which reads the memory as it is.
    plain = type(labels) is Tensor and labels.device.type == 'cpu'
    if rows and plain and not torch.compiler.is_compiling():
        values = labels.numpy()
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f'{name}: the label {low if low < 0 else high} for logits of {classes} classes; '
                f'valid: 0 to {classes - 1}, and counted=... for rows that have no label'
            )
    return labels
