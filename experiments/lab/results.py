"""The results of a study: one JSON file a run, complete whenever it is there."""

import importlib
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

from btkd_det.checkpoint.writing import write_text
from btkd_det.errors import ConfigError
from experiments.benchmarks.measure import environment

from .study import Run

ROOT = Path(__file__).resolve().parents[2]


class Results:
    """The files of a study's runs.

    Args:
        study (Study): The study.
        folder (str | Path): Of all studies' results.
    """

    def __init__(self, study, folder):
        self.study = study
        self.folder = Path(folder) / study.name

    def path(self, run):
        """Path: Where the result of a run lies."""
        return self.folder / f'{run.key}.json'

    def read(self, run):
        """dict | None: The result of a run, None where there is none."""
        path = self.path(run)
        return read_json(path) if path.is_file() else None

    def write(self, run, entries):
        """Write the result of a run."""
        write_json(self.path(run), entries)

    @property
    def tuning_metric(self):
        """str: The metric of the validation that chooses a trial."""
        return self.study.tuning.get('metric', self.study.metric)

    def trial_means(self, arm):
        """The mean of the validation metric of each trial, over cells and seeds.

        Args:
            arm (str): Of the study, with trials.

        Returns:
            list[float] | None: By trial; None while runs are missing.
        """
        values = [[] for _ in range(self.study.tuning['trials'])]
        for run in self.study.tuning_runs([arm]):
            found = self.read(run)
            if found is None:
                return None
            values[run.trial].append(found['validation'][self.tuning_metric])
        return [statistics.fmean(numbers) for numbers in values]

    def chosen_trial(self, arm):
        """int | None: The trial of the highest mean, the first of equals; None as above."""
        means = self.trial_means(arm)
        return None if means is None else means.index(max(means))

    def trial_of(self, run):
        """The trial whose changes a run has.

        Args:
            run (Run): Of a student or a teacher.

        Returns:
            tuple[bool, int | None]: Whether that is known by now, and the trial.
        """
        if run.arm is None or run.trial is not None or not self.study.is_tuned(run.arm):
            return True, run.trial
        trial = self.chosen_trial(run.arm)
        return trial is not None, trial

    def state(self, run):
        """``'done'``, ``'missing'``, or ``'changed'``: done with another config.

        Args:
            run (Run): The run.

        Returns:
            str: The state.
        """
        found = self.read(run)
        if found is None:
            return 'missing'
        known, trial = self.trial_of(run)
        if known and found['config_hash'] == self.study.run_hash(run, trial):
            return 'done'
        return 'changed'

    def same_run(self, run, trial):
        """A finished run of another cell that is the same training, or None.

        An arm without a teacher does not depend on the cell's, so that cells whose students see
        the same data share its runs.

        Args:
            run (Run): Of a student.
            trial (int, optional): Whose changes it has.

        Returns:
            Run | None: The other one.
        """
        if run.arm is None or self.study.is_distilled(run.arm):
            return None
        wanted = self.study.run_hash(run, trial)
        for cell in self.study.cells:
            other = Run(cell, run.arm, run.seed, run.trial)
            found = self.read(other) if other != run else None
            if found and found['config_hash'] == wanted and 'same_as' not in found:
                return other
        return None


def read_json(path):
    """dict: The content of a JSON file; raises ConfigError where it is none."""
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConfigError(
            f'results: {path} is no JSON ({error}); remove it, and the run is done again'
        ) from error


def write_json(path, content):
    """Write a JSON file; whoever reads it at any time finds it complete.

    Args:
        path (str | Path): The file; its folder is made.
        content (dict): What goes into it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2) + '\n')


def describe_environment():
    """What every result has to say of where it comes from.

    Returns:
        dict: ``commit``; ``dirty``, whether the code or a config differed from it;
        ``machine`` and ``versions``.
    """
    found = environment()
    machine = dict(device=found.pop('device'), host_cpus=os.cpu_count(), threads=1)
    for key in ('threads', 'commit'):
        found.pop(key)
    found['mmpretrain'] = getattr(importlib.import_module('mmpretrain'), '__version__', None)
    sources = ['btkd_det', 'configs', 'experiments', ':(exclude)experiments/results']
    changed = _git('status', '--porcelain', '--', *sources)
    return dict(
        commit=_git('rev-parse', '--short=10', 'HEAD') or 'unknown',
        dirty=bool(changed),
        machine=machine | dict(system=platform.platform()),
        versions=found,
    )


def _git(*arguments):
    command = ['git', '-C', str(ROOT), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.stdout.strip()
