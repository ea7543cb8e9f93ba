"""One class against the rest, and the rest among itself, without leaving log space."""

import torch
from torch import Tensor


def without(logits: Tensor, classes: Tensor) -> Tensor:
    """The logits with some classes out of the race.

    They get the lowest finite number rather than minus infinity, so that their share is 0 and
    neither a value nor a gradient turns into NaN, not even where nothing else is left.

    Args:
        logits (Tensor): (N, C), float32 or float64.
        classes (Tensor): Class index per row, (N,), or a mask, (N, C) bool.

    Returns:
        Tensor: (N, C).
    """
    lowest = torch.finfo(logits.dtype).min
    if classes.dtype == torch.bool:
        return logits.masked_fill(classes, lowest)
    return logits.scatter(1, classes.unsqueeze(1), lowest)


def against_rest(logits: Tensor, rest: Tensor, classes: Tensor) -> Tensor:
    """The logit of one class in a race of two: it, and all others together.

    ``sigmoid`` of it is the softmax of that class. Taking the logarithm of that softmax, or
    of 1 minus it, gives infinity where the gap is large; ``logsigmoid`` does not.

    Args:
        logits (Tensor): (N, C).
        rest (Tensor): :func:`without` of ``logits`` and ``classes``, (N, C).
        classes (Tensor): Class index per row, (N,).

    Returns:
        Tensor: (N,).
    """
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1) - rest.logsumexp(dim=1)
