"""Confidence intervals of means, from few values."""

import math
import statistics
from collections.abc import Sequence

#: One interval in twenty does not hold the true value.
LEVEL = 0.05
# Differences that vary by less are one number, of which nothing can be said.
CONSTANT = 1e-9


def paired_interval(
    differences: Sequence[float], level: float = LEVEL
) -> tuple[float, float] | None:
    """The t-interval of the mean of paired differences.

    Args:
        differences (Sequence[float]): One for each pair.
        level (float): Share of intervals that miss. Defaults to 0.05.

    Returns:
        tuple[float, float] | None: Its ends; None of fewer than two pairs, or of equal ones.
    """
    if len(differences) < 2 or statistics.stdev(differences) < CONSTANT:
        return None
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return _around(statistics.fmean(differences), error, len(differences) - 1, level)


def unpaired_interval(
    values: Sequence[float], others: Sequence[float], level: float = LEVEL
) -> tuple[float, float] | None:
    """Welch's t-interval of the difference of two means.

    Args:
        values (Sequence[float]): Of one sample.
        others (Sequence[float]): Of the other, which is subtracted.
        level (float): Share of intervals that miss. Defaults to 0.05.

    Returns:
        tuple[float, float] | None: Its ends; None where a sample has fewer than two values, or
        neither varies.
    """
    if len(values) < 2 or len(others) < 2:
        return None
    first = statistics.variance(values) / len(values)
    second = statistics.variance(others) / len(others)
    if first + second < CONSTANT**2:
        return None
    freedom = (first + second) ** 2 / (first**2 / (len(values) - 1) + second**2 / (len(others) - 1))
    mean = statistics.fmean(values) - statistics.fmean(others)
    return _around(mean, math.sqrt(first + second), freedom, level)


def _around(mean: float, error: float, freedom: float, level: float) -> tuple[float, float]:
    from scipy import stats  # half a second, for tables alone

    half = error * float(stats.t.ppf(1 - level / 2, freedom))
    return mean - half, mean + half
