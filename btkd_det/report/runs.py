"""What a work dir tells of a training: its config, its seed, its curves."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..config.reading import read_config
from ..errors import ConfigError
from .terms import terms_of

#: The metrics that are looked for, in this order, where none is named.
METRICS = ('coco/bbox_mAP', 'pascal_voc/mAP', 'accuracy/top1', 'single-label/f1-score')


@dataclass
class TrainingRun:
    """One training.

    Attributes:
        name (str): What it is called in the table.
        folder (Path): Its work dir.
        seed (int | None): Of its config; None where it has none.
        validations (list[tuple[int, dict[str, float]]]): Epoch or iteration, and the metrics that
            were measured there, in order.
    """

    name: str
    folder: Path
    seed: int | None
    validations: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def value(self, metric: str, best: bool = False) -> float:
        """The metric of the last validation, or the best of all."""
        values = [metrics[metric] for _, metrics in self.validations if metric in metrics]
        return max(values, key=at_best) if best else values[-1]


@dataclass
class TrainingLog:
    """What MMEngine wrote into ``scalars.json``, of all the times that a training was resumed.

    Of a folder in which a training was begun anew, it is the last one's.

    Attributes:
        steps (list[dict[str, float]]): The lines of the training in order, each with its ``iter``.
        validations (list[tuple[int, dict[str, float]]]): Epoch or iteration, and the metrics that
            were measured there, in order.
        teacher (dict[str, float]): The teacher's metrics on the same data, where they were
            measured (``evaluate_teacher``).
    """

    steps: list[dict[str, float]]
    validations: list[tuple[int, dict[str, float]]]
    teacher: dict[str, float]


def read_log(folder: Path) -> TrainingLog:
    """Read the log of a work dir.

    Args:
        folder (Path): The work dir.

    Raises:
        ConfigError: It holds no log.
    """
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    if not logs:
        raise ConfigError(
            f'RUN: {folder} holds no */vis_data/scalars.json; valid: the --work-dir of a training'
        )
    parts = [list(_lines(log)) for log in logs]
    # A training without epochs may be logged as if it was in its first, from its start to its end.
    by_epoch = any(line.get('epoch', 0) > 1 for part in parts for line in part if _is_step(line))
    entries: list[_Entry] = []
    teacher: dict[str, float] = {}
    for part in parts:
        entries = _before(part, entries, by_epoch)
        if not entries:
            teacher = {}
        last, epoch = (entries[-1].iteration, entries[-1].epoch) if entries else (0, 0)
        for numbers in part:
            step = numbers.pop('step', None)
            if _is_step(numbers):
                last = int(numbers.setdefault('iter', step or 0))
                epoch = int(numbers.get('epoch', 0))
                entries.append(_Entry(last, epoch, None, numbers))
                continue
            for key in ('data_time', 'time', 'epoch', 'iter', 'memory'):
                numbers.pop(key, None)
            if all(key.startswith('teacher/') for key in numbers):
                teacher |= {key.removeprefix('teacher/'): v for key, v in numbers.items()}
            elif step is not None:
                # Nor does such a training say at which iteration it is validated.
                at = int(step) or (epoch if by_epoch else last)
                entries.append(_Entry(last, epoch, at, numbers))
    steps = {entry.iteration: entry.numbers for entry in entries if entry.at is None}
    validations = {entry.at: entry.numbers for entry in entries if entry.at is not None}
    return TrainingLog([steps[i] for i in sorted(steps)], sorted(validations.items()), teacher)


class _Entry(NamedTuple):
    """A line of a log; ``at`` is what a validation is counted by, None of a training step."""

    iteration: int
    epoch: int
    at: int | None
    numbers: dict[str, float]


def _is_step(line: dict[str, float]) -> bool:
    return 'lr' in line or 'loss' in line


def _before(part: list[dict[str, float]], entries: list[_Entry], by_epoch: bool) -> list[_Entry]:
    """The entries of earlier logs that come before what a later one begins with.

    A resumed training goes on from some point, a new one in the same folder from its first step:
    what was logged from there on is of weights that are no more.
    """
    step = next((line for line in part if _is_step(line)), None)
    if step is not None:
        first = int(step.get('iter', step.get('step', 0)))
        epoch = int(step.get('epoch', 0)) if by_epoch else math.inf
        earliest = min((entry.iteration for entry in entries if entry.at is None), default=0)
        if first <= earliest:
            return []
        entries = [e for e in entries if e.iteration < first and e.epoch < epoch]
    # A resumed training may begin with the validation that the one before did not finish.
    tested = (line.get('step', 0) for line in part if not _is_step(line) and not _of_teacher(line))
    validated = int(next(tested, 0)) or math.inf
    return [e for e in entries if e.at is None or e.at < validated]


def _of_teacher(line: dict[str, float]) -> bool:
    return any(key.startswith('teacher/') for key in line)


def read_run(text: str) -> TrainingRun:
    """Read a work dir.

    Args:
        text (str): The folder, or ``NAME=FOLDER``. The whole is the folder where there is one of
            that name.

    Returns:
        TrainingRun: Without a name in ``text`` it is called as its config, and a distilled one
        after what it distills, too: a plain config and the same with a teacher are two things.

    Raises:
        ConfigError: It is no work dir, or no validation has been finished in it.
    """
    name, folder = _named(text)
    path = Path(folder)
    log = read_log(path)
    config = config_of(path)
    if not log.validations:
        raise ConfigError(f'RUN: {folder}: no validation has been finished in it')
    if not name:
        name = ' + '.join([config.stem, *_distilled(log)])
    return TrainingRun(name, path, _seed(config), log.validations)


def _named(text: str) -> tuple[str, str]:
    """Name and folder of a RUN; both may have an equals sign in them."""
    splits = [('', text), *((text[: m.start()], text[m.end() :]) for m in re.finditer('=', text))]
    return next((split for split in splits if split[1] and Path(split[1]).is_dir()), splits[-1])


def at_best(value: float) -> float:
    """What a metric is ranked by: one that is no number is never the best.

    Args:
        value (float): Of the metric.
    """
    return -math.inf if math.isnan(value) else value


def main_metric(names: Iterable[str]) -> str | None:
    """The metric that a training is judged by, of those that were measured.

    Args:
        names (Iterable[str]): Of the metrics.

    Returns:
        str | None: The first of ``METRICS`` among them, or of the alphabet; ``None`` of none.
    """
    names = list(names)
    return next((name for name in METRICS if name in names), min(names, default=None))


def common_metric(runs: list[TrainingRun], metric: str | None = None) -> str:
    """The metric to compare by.

    Args:
        runs (list[TrainingRun]): Whose.
        metric (str, optional): The one that is asked for. Defaults to the first of ``METRICS``
            that all have.

    Raises:
        ConfigError: A run lacks it, or no metric is common to all.
    """
    measured = [{key for _, metrics in run.validations for key in metrics} for run in runs]
    common = set.intersection(*measured)
    if metric is None:
        metric = main_metric(common)
    if metric is None or metric not in common:
        lacking = next(
            (r.folder for r, m in zip(runs, measured, strict=True) if metric not in m), ''
        )
        raise ConfigError(
            f'--metric: {metric} was not measured in {lacking}; valid, in all of the runs: '
            f'{", ".join(sorted(common)) or "none"}'
        )
    return metric


def _lines(log: Path) -> Iterator[dict[str, float]]:
    """The numbers of each line, by their names without ``train/`` and ``val/``."""
    for line in log.read_text(encoding='utf-8').splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed
        if isinstance(entry, dict):
            yield {
                re.sub('^(train|val)/', '', key): float(value)
                for key, value in entry.items()
                if isinstance(value, (int, float)) and not isinstance(value, bool)
            }


def config_of(folder: Path) -> Path:
    """The config that MMEngine wrote into a work dir.

    Args:
        folder (Path): The work dir.

    Raises:
        ConfigError: There is none.
    """
    configs = [p for p in sorted(folder.glob('*.py')) if not p.stem.endswith('_plain')]
    dumped = sorted(folder.glob('*/vis_data/config.py'))
    if not configs and not dumped:
        raise ConfigError(f'RUN: {folder} holds no config; valid: the --work-dir of a training')
    return configs[0] if configs else dumped[-1]


def _distilled(log: TrainingLog) -> list[str]:
    """The terms that distillation added, such as ``loss_btkd``, without their sites."""
    terms = terms_of({key for step in log.steps for key in step})
    return sorted({term.name.removeprefix('loss_') for term in terms if term.is_loss})


def _seed(config: Path) -> int | None:
    """The seed that a config names; read as text where it does not load any more."""
    try:
        return (read_config(str(config), 'RUN').get('randomness') or {}).get('seed')
    except ConfigError:
        match = re.search(r'randomness\s*=\s*dict\([^)]*seed=(\d+)', config.read_text())
        return int(match[1]) if match else None
