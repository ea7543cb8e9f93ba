"""A study file: what it says, held against what is valid, and the runs that it asks for."""

import copy
import dataclasses
import hashlib
import json
import re
from pathlib import Path

from mmengine.config import Config, ConfigDict

from btkd_det.errors import ConfigError
from btkd_det.registry import suggest

KINDS = ('classification', 'detection')
REQUIRED = ('name', 'kind', 'data', 'student', 'teacher', 'cells', 'arms', 'seeds')
OPTIONAL = dict(title=None, schedule=None, tuning=None, references=None, metric='top1', notes=None)
ARM_KEYS = dict(
    classification=('title', 'host', 'part', 'host_weight', 'distill', 'trials'),
    detection=('title', 'host', 'part', 'distill', 'trials'),
)
TUNING_KEYS = ('trials', 'seeds', 'cells', 'metric')
NAME = re.compile(r'[\w.+-]+')
# Names of files and folders beside those of arms and cells.
RESERVED = ('teacher', 'tuning')


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Args:
        cell (str): Of the study.
        arm (str, optional): Of the study; None for the cell's teacher.
        seed (int): Of the training.
        trial (int, optional): Number of a tuning trial; None for a run that is reported.
    """

    cell: str
    arm: str | None = None
    seed: int = 0
    trial: int | None = None

    @property
    def key(self):
        """str: Its path below the study's results, without the ending."""
        if self.arm is None:
            return f'{self.cell}/teacher'
        if self.trial is not None:
            return f'tuning/{self.cell}/{self.arm}/trial{self.trial}/seed{self.seed}'
        return f'{self.cell}/{self.arm}/seed{self.seed}'


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study file says; see ``experiments/README.md`` for what each entry means."""

    name: str
    kind: str
    data: dict
    student: dict
    teacher: dict
    cells: dict
    arms: dict
    seeds: list
    schedule: dict | None
    title: str | None
    tuning: dict | None
    references: dict
    metric: str
    notes: str | None

    def teacher_of(self, cell):
        """dict: The teacher's settings in a cell."""
        return merged(self.teacher, self.cells[cell].get('teacher'))

    def student_of(self, cell):
        """dict: The student's settings in a cell."""
        return merged(self.student, self.cells[cell].get('student'))

    def arm(self, name, trial=None):
        """An arm as it is trained: without its trials, and with the changes of one of them.

        Args:
            name (str): Of the arm.
            trial (int, optional): Number of the trial.

        Returns:
            dict: A new one in each call.
        """
        arm = copy.deepcopy(self.arms[name])
        trials = arm.pop('trials', None)
        for key in ('title', 'host', 'part'):
            arm.pop(key, None)
        if trial is None:
            return arm
        changed = Config(arm)
        changed.merge_from_dict(copy.deepcopy(trials[trial]))
        return changed.to_dict()

    def is_tuned(self, arm):
        """bool: Whether an arm has tuning trials."""
        return bool(self.arms[arm].get('trials'))

    def is_part(self, arm):
        """bool: Whether an arm shows what a part of another does, beside what the study asks."""
        return bool(self.arms[arm].get('part'))

    def whole(self, arm):
        """str | None: The arm that this one is a part of, where it names one."""
        part = self.arms[arm].get('part')
        return part if isinstance(part, str) else None

    def is_distilled(self, arm):
        """bool: Whether an arm has a teacher."""
        return bool(self.arms[arm].get('distill'))

    def final_runs(self):
        """list[Run]: The runs that are reported, seed by seed."""
        return [Run(c, a, s) for s in self.seeds for c in self.cells for a in self.arms]

    def tuning_runs(self, arms=None):
        """list[Run]: The runs of the tuning, seed by seed, of some arms or of all."""
        if not self.tuning:
            return []
        return [
            Run(cell, arm, seed, trial)
            for seed in self.tuning['seeds']
            for trial in range(self.tuning['trials'])
            for cell in self.tuning['cells']
            for arm in (arms or self.arms)
            if self.is_tuned(arm)
        ]

    def teacher_hash(self, cell):
        """str: What a teacher's training depends on; equal for cells that share one."""
        described = dict(kind=self.kind, data=self.data, teacher=self.teacher_of(cell))
        return digest({**described, 'schedule': self.schedule})

    def run_hash(self, run, trial=None):
        """What a run depends on, but for its seed.

        Args:
            run (Run): The run.
            trial (int, optional): The trial whose changes it has.

        Returns:
            str: Equal for runs that would be the same training: an arm without a teacher does
            not depend on the cell's.
        """
        student = self.student_of(run.cell)
        if run.arm is None:
            return digest(dict(teacher=self.teacher_hash(run.cell), student=student))
        described = dict(kind=self.kind, data=self.data, student=student)
        described.update(schedule=self.schedule, arm=self.arm(run.arm, trial))
        if self.is_distilled(run.arm):
            described['teacher'] = self.teacher_hash(run.cell)
        return digest(described)


def read_study(path):
    """Read a study file.

    Args:
        path (str | Path): A Python config as MMEngine reads them.

    Returns:
        Study: What it says.

    Raises:
        ConfigError: An entry is missing, unknown or not valid.
    """
    if not Path(path).is_file():
        raise ConfigError(f'STUDY: no file {str(path)!r}; valid: one of experiments/studies/')
    return study_of(Config.fromfile(str(path), lazy_import=False).to_dict(), str(path))


def study_of(content, field):
    """The study that a dict describes; see :func:`read_study`."""
    valid = (*REQUIRED, *OPTIONAL)
    for key in content:
        if key not in valid:
            raise ConfigError(
                f'{field}: unknown entry {key!r}{suggest(key, valid)}; valid: {", ".join(valid)}'
            )
    for key in REQUIRED:
        if not content.get(key):
            raise ConfigError(f'{field}: {key} is missing or empty; a study needs it')
    values = {**OPTIONAL, **content}
    values['references'] = values['references'] or {}
    study = Study(**values)
    _check_names(study, field)
    _check_arms(study, field)
    _check_tuning(study, field)
    return study


def merged(settings, changes):
    """A copy of settings with a cell's changes, nested dicts merged key by key.

    A dict with ``_delete_=True`` takes the place of the one that it changes, as in MMEngine.
    """
    return Config._merge_a_into_b(ConfigDict(changes or {}), ConfigDict(settings)).to_dict()


def digest(described):
    """str: A short hash of anything that JSON holds."""
    text = json.dumps(described, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_names(study, field):
    if study.kind not in KINDS:
        raise ConfigError(f'{field}: kind is {study.kind!r}; valid: {", ".join(KINDS)}')
    for name in (study.name, *study.cells, *study.arms):
        if not NAME.fullmatch(name) or name in RESERVED:
            raise ConfigError(
                f'{field}: {name!r} cannot be a name of study, cell or arm; valid: letters, '
                f'digits and ._+- and none of {", ".join(RESERVED)}'
            )
    for cell, content in study.cells.items():
        unknown = set(content) - {'title', 'teacher', 'student'}
        if unknown:
            raise ConfigError(
                f'{field}: cells.{cell} has {sorted(unknown)[0]!r}; valid: title, teacher, student'
            )
    for role, arm in study.references.items():
        if role not in ('alone', 'kd') or arm not in study.arms:
            raise ConfigError(
                f'{field}: references.{role} is {arm!r}; valid: alone and kd, each an arm of '
                f'{", ".join(study.arms)}'
            )
    if study.kind == 'classification' and not study.schedule:
        raise ConfigError(f'{field}: schedule is missing; a study of classification needs it')


def _check_arms(study, field):
    valid = ARM_KEYS[study.kind]
    for name, arm in study.arms.items():
        unknown = [key for key in arm if key not in valid]
        if unknown:
            raise ConfigError(
                f'{field}: arms.{name} has {unknown[0]!r}{suggest(unknown[0], valid)}; valid: '
                f'{", ".join(valid)}'
            )
        if arm.get('host', name) not in study.arms:
            raise ConfigError(
                f'{field}: arms.{name}.host is {arm["host"]!r}{suggest(arm["host"], study.arms)}; '
                f'valid: {", ".join(study.arms)}'
            )
        if arm.get('part', False) not in (True, False, *study.arms):
            raise ConfigError(
                f'{field}: arms.{name}.part is {arm["part"]!r}{suggest(arm["part"], study.arms)}; '
                f'valid: True, or the arm that it is a part of, {", ".join(study.arms)}'
            )
        trials = arm.get('trials')
        if trials and not study.tuning:
            raise ConfigError(f'{field}: arms.{name}.trials without an entry tuning')
        if trials and len(trials) != study.tuning.get('trials'):
            raise ConfigError(
                f'{field}: arms.{name} has {len(trials)} trials; valid: as many as every arm, '
                f'tuning.trials={study.tuning.get("trials")!r}'
            )


def _check_tuning(study, field):
    if not study.tuning:
        return
    if set(study.tuning) - set(TUNING_KEYS) or not {'trials', 'seeds', 'cells'} <= set(
        study.tuning
    ):
        raise ConfigError(
            f'{field}: tuning has {", ".join(study.tuning)}; valid: {", ".join(TUNING_KEYS)}'
        )
    if study.kind == 'classification' and not study.data.get('val_per_class'):
        raise ConfigError(f'{field}: tuning without data.val_per_class; valid: images to validate')
    common = set(study.tuning['seeds']) & set(study.seeds)
    if common:
        raise ConfigError(
            f'{field}: tuning.seeds has {sorted(common)[0]}, which is among the seeds of the '
            'reported runs; valid: other ones'
        )
    for cell in study.tuning['cells']:
        if cell not in study.cells:
            raise ConfigError(
                f'{field}: tuning.cells names {cell!r}{suggest(cell, study.cells)}; valid: '
                f'{", ".join(study.cells)}'
            )
