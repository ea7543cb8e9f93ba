"""What of a study's results is more than chance: paired differences, corrected for their number."""

import dataclasses
import statistics

from scipy import stats

from btkd_det.errors import ConfigError
from btkd_det.report.intervals import paired_interval

# Of all comparisons of a study together, so that a difference that is called one is one.
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Sample:
    """The test metric of an arm in a cell.

    Args:
        by_seed (dict[int, float]): Seed to value.
    """

    by_seed: dict

    @property
    def mean(self):
        """float: Over the seeds."""
        return statistics.fmean(self.by_seed.values())

    @property
    def deviation(self):
        """float | None: Standard deviation over the seeds; None of one seed."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclasses.dataclass(frozen=True)
class Difference:
    """An arm against another one of the same cell, paired by seed.

    Args:
        cell (str): Of the study.
        arm (str): Of the study.
        other (str): What it is held against.
        seeds (int): Number of pairs.
        mean (float): Of the arm minus the other one.
        interval (tuple[float, float] | None): The 95 % t-interval; None where it is unknown.
        p (float | None): Of the two-sided paired t-test, not corrected.
        corrected_p (float | None): By Holm, over all comparisons of the study's arms, or over
            all of its parts.
        corrected_interval (tuple[float, float] | None): At the level of Holm's step: it covers
            0 exactly where the corrected test finds nothing.
    """

    cell: str
    arm: str
    other: str
    seeds: int
    mean: float
    interval: tuple | None = None
    p: float | None = None
    corrected_p: float | None = None
    corrected_interval: tuple | None = None

    @property
    def verdict(self):
        """str: ``'above'``, ``'below'``, ``'no difference found'``, or ``'not known'``."""
        if self.corrected_interval is None:
            return 'not known'
        low, high = self.corrected_interval
        return 'above' if low > 0 else 'below' if high < 0 else 'no difference found'


def samples(study, results):
    """The test metric of every arm in every cell that has any finished run.

    Args:
        study (Study): The study.
        results (Results): Its files.

    Returns:
        dict[tuple[str, str], Sample]: By cell and arm, in the study's order.

    Raises:
        ConfigError: The runs of an arm in a cell were done with different configs.
    """
    found = {}
    for cell in study.cells:
        for arm in study.arms:
            runs = [
                results.read(run)
                for run in study.final_runs()
                if (run.cell, run.arm) == (cell, arm)
            ]
            runs = [run for run in runs if run]
            hashes = {run['config_hash'] for run in runs}
            if len(hashes) > 1:
                raise ConfigError(
                    f'results: {cell}/{arm} has runs of {len(hashes)} configs '
                    f'({", ".join(sorted(hashes))}); valid: one; experiments/run.py --replace '
                    'does the old ones again'
                )
            if runs:
                found[cell, arm] = Sample({r['seed']: r['test'][study.metric] for r in runs})
    return found


def differences(study, by_arm):
    """Every arm against the student alone, KD and its host, corrected together.

    Arms that are parts are corrected together, too, but apart from the others: how many of them
    were looked at says nothing of what the study asks.

    Args:
        study (Study): Its references say which arms these are.
        by_arm (dict[tuple[str, str], Sample]): See :func:`samples`.

    Returns:
        list[Difference]: In the study's order; those without a common seed are left out.
    """
    found = []
    for (cell, arm), sample in by_arm.items():
        for other in references_of(study, arm):
            pairs = paired(sample, by_arm[cell, other]) if (cell, other) in by_arm else []
            if pairs:
                found.append(compare(cell, arm, other, pairs))
    by_kind = {
        is_part: iter(corrected([d for d in found if study.is_part(d.arm) == is_part]))
        for is_part in (False, True)
    }
    return [next(by_kind[study.is_part(difference.arm)]) for difference in found]


def references_of(study, arm):
    """What an arm is held against, each once.

    Args:
        study (Study): The study.
        arm (str): Its name.

    Returns:
        list[str]: The student alone, KD, the arm's host and what it is a part of, those that there
        are. The student alone is held against nothing: the others are held against it.
    """
    alone = study.references.get('alone')
    if arm == alone:
        return []
    others = (alone, study.references.get('kd'), study.arms[arm].get('host'))
    others = (*others, study.whole(arm))
    return [other for other in dict.fromkeys(others) if other not in (None, arm)]


def paired(sample, other):
    """list[float]: Differences of two samples, by the seeds that both have."""
    common = [seed for seed in sample.by_seed if seed in other.by_seed]
    return [sample.by_seed[seed] - other.by_seed[seed] for seed in common]


def compare(cell, arm, other, pairs):
    """The paired t-test of some differences.

    Args:
        cell, arm, other (str): What they are of.
        pairs (Sequence[float]): One difference for each seed.

    Returns:
        Difference: Not corrected. Where there is one pair, or all are equal, nothing is known of
        chance: there is no interval.
    """
    mean = statistics.fmean(pairs)
    interval = paired_interval(pairs, LEVEL)
    if interval is None:
        return Difference(cell, arm, other, len(pairs), mean)
    p = float(stats.ttest_1samp(pairs, 0.0).pvalue)
    return Difference(cell, arm, other, len(pairs), mean, interval, p)


def holm(p_values):
    """p-values corrected for their number by Holm's step-down method.

    Args:
        p_values (Sequence[float]): m of them.

    Returns:
        tuple[list[float], list[float]]: The corrected ones, and for each the level at which an
        interval of its own covers 0 exactly where the method does not reject.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, levels = [0.0] * len(p_values), [0.0] * len(p_values)
    highest, level, rejecting = 0.0, LEVEL, True
    for step, index in enumerate(order):
        count = len(p_values) - step
        highest = max(highest, min(1.0, p_values[index] * count))
        # After the first that is not rejected, none is: the step does not go on.
        level = LEVEL / count if rejecting else level
        rejecting = rejecting and p_values[index] < level
        adjusted[index], levels[index] = highest, level
    return adjusted, levels


def corrected(found):
    """list[Difference]: The same, corrected for their number; those without a test as they are."""
    tested = [difference for difference in found if difference.p is not None]
    adjusted, levels = holm([difference.p for difference in tested])
    by_difference = dict(zip(map(id, tested), zip(adjusted, levels, strict=True), strict=True))
    return [
        _with_correction(difference, *by_difference[id(difference)])
        if id(difference) in by_difference
        else difference
        for difference in found
    ]


def _with_correction(difference, p, level):
    low, high = difference.interval
    half = (high - low) / 2
    freedom = difference.seeds - 1
    wider = half * stats.t.ppf(1 - level / 2, freedom) / stats.t.ppf(1 - LEVEL / 2, freedom)
    interval = (difference.mean - wider, difference.mean + wider)
    return dataclasses.replace(difference, corrected_p=p, corrected_interval=interval)
