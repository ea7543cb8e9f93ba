"""Several trainings beside each other: a table with intervals, and their curves."""

import statistics
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from .intervals import paired_interval, unpaired_interval
from .runs import TrainingRun


@dataclass(frozen=True)
class Group:
    """The runs of one name.

    Attributes:
        name (str): Of the group.
        runs (tuple[TrainingRun, ...]): At least one.
    """

    name: str
    runs: tuple[TrainingRun, ...]

    def values(self, metric: str, best: bool) -> list[float]:
        """The metric of each run."""
        return [run.value(metric, best) for run in self.runs]


@dataclass(frozen=True)
class Row:
    """A group in the table.

    Attributes:
        name (str): Of the group.
        values (tuple[float, ...]): The metric of each run.
        difference (float | None): Of the means, to the group that all are held against.
        interval (tuple[float, float] | None): The 95 % interval of it.
        pairs (int): Seeds by which it is paired; 0 where it is not.
    """

    name: str
    values: tuple[float, ...]
    difference: float | None = None
    interval: tuple[float, float] | None = None
    pairs: int = 0

    @property
    def mean(self) -> float:
        """Over the runs."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the runs; None of one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def grouped(runs: list[TrainingRun]) -> list[Group]:
    """The runs by their names, in the order in which these come first.

    Args:
        runs (list[TrainingRun]): At least one.

    Raises:
        ConfigError: Two runs of one name have one seed: one of them would count twice.
    """
    names = dict.fromkeys(run.name for run in runs)
    groups = [Group(name, tuple(run for run in runs if run.name == name)) for name in names]
    for group in groups:
        seeds: dict[int, TrainingRun] = {}
        for run in group.runs:
            other = seeds.setdefault(run.seed, run) if run.seed is not None else run
            if other is not run:
                raise ConfigError(
                    f'RUN: {other.folder} and {run.folder} are both {group.name} with the seed '
                    f'{run.seed}; valid: one run of a name for each seed, or names of their own, '
                    f'NAME={run.folder}'
                )
    return groups


def compare(
    groups: list[Group], metric: str, against: str | None = None, best: bool = False
) -> list[Row]:
    """Hold every group against one of them.

    Args:
        groups (list[Group]): See :func:`grouped`.
        metric (str): By which.
        against (str, optional): Name of the group that the others are held against. Defaults to
            the first one.
        best (bool): Whether the best validation of a run counts, instead of its last.

    Returns:
        list[Row]: One for each group. Where two groups have at least two seeds in common, their
        difference is paired by these, else it is Welch's.

    Raises:
        ConfigError: There is no group of that name.
    """
    names = [group.name for group in groups]
    if against is not None and against not in names:
        raise ConfigError(f'--against: no run is called {against}; valid: {", ".join(names)}')
    reference = groups[names.index(against)] if against else groups[0]
    return [
        Row(group.name, tuple(group.values(metric, best)))
        if group is reference
        else _difference(group, reference, metric, best)
        for group in groups
    ]


def _difference(group: Group, reference: Group, metric: str, best: bool) -> Row:
    values, others = group.values(metric, best), reference.values(metric, best)
    by_seed = {run.seed: value for run, value in zip(reference.runs, others, strict=True)}
    pairs = [
        value - by_seed[run.seed]
        for run, value in zip(group.runs, values, strict=True)
        if run.seed is not None and run.seed in by_seed
    ]
    if len(pairs) > 1:
        mean, interval = statistics.fmean(pairs), paired_interval(pairs)
    else:
        mean = statistics.fmean(values) - statistics.fmean(others)
        interval, pairs = unpaired_interval(values, others), []
    return Row(group.name, tuple(values), mean, interval, len(pairs))


def draw(groups: list[Group], metric: str, file: Path) -> None:
    """Draw the metric over the training: a line for each run, thick for the mean of a group.

    Args:
        groups (list[Group]): See :func:`grouped`.
        metric (str): Which.
        file (Path): Where to; its ending says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout='constrained')
    axes = figure.add_subplot()
    for i, group in enumerate(groups):
        curves = [
            {step: found[metric] for step, found in run.validations if metric in found}
            for run in group.runs
        ]
        for curve in curves:
            axes.plot(list(curve), list(curve.values()), color=f'C{i}', alpha=0.35, linewidth=0.8)
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        means = [statistics.fmean(curve[step] for curve in curves) for step in steps]
        axes.plot(
            *(steps, means), 'o-', color=f'C{i}', markersize=3, label=group.name.replace('$', r'\$')
        )
    axes.set_xlabel('epoch or iteration')
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    figure.savefig(file, dpi=120)
