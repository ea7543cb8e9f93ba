"""Does the runs of a study that are missing, several at a time, in an order that serves tables."""

import contextlib
import fcntl
import fnmatch
import shutil
import statistics
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from btkd_det.errors import ConfigError

from .pool import Child, wait_for_any
from .results import Results, describe_environment
from .study import Run

# Seconds between two looks at the clock.
POLL = 0.5
# Seconds of a run of which nothing is known yet.
GUESS = 60.0


class Laboratory:
    """A study, its results, and the processes that add to them.

    Args:
        study (Study): The study.
        trainer (object): Trains a run; see :class:`~experiments.lab.classification.Classification`.
        results (str | Path): Folder of all studies' results.
        work_dir (str | Path): Folder of all studies' logs and weights.
        workers (int): Processes of one thread each.
        only (Sequence[str]): Patterns of the shell; a run is done where one matches its key.
            Teachers that it needs are trained with it. Empty means all runs.
        replace (bool): Do runs again that were done with another config.
        stream (TextIO, optional): For the progress. Defaults to standard output.
    """

    def __init__(
        self, study, trainer, results, work_dir, workers=1, only=(), replace=False, stream=None
    ):
        self.study = study
        self.trainer = trainer
        self.results = Results(study, results)
        self.work_dir = Path(work_dir).resolve() / study.name
        self.workers = workers
        self.only = tuple(only)
        self.replace = replace
        self.stream = stream or sys.stdout
        self.failed = []
        self._seconds = {}
        self._environment = None
        self._lock = None

    def wanted(self):
        """list[Run]: Students' runs that are asked for: the tuning's, then seed by seed."""
        runs = self.study.tuning_runs() + self.study.final_runs()
        return [run for run in runs if self._is_asked_for(run)]

    def missing(self):
        """What is to be done, teachers included, each before the first run that needs it.

        Returns:
            list[Run]: In order.

        Raises:
            ConfigError: A result is of another config, and is not to be replaced.
        """
        wanted = self.wanted()
        states = {run: self.results.state(run) for run in wanted}
        changed = [run for run, state in states.items() if state == 'changed']
        if changed and not self.replace:
            raise ConfigError(
                f'results: {len(changed)} of {len(wanted)} results are of another config than '
                f'this study file now has, the first {self.results.path(changed[0])}; valid: '
                '--replace to do them again, or the study file as it was'
            )
        todo, teachers = [], set()
        for run in wanted:
            if states[run] == 'done':
                continue
            teacher = Run(run.cell, seed=self.study.teacher_of(run.cell).get('seed', 0))
            if self._needs_teacher(run) and run.cell not in teachers:
                teachers.add(run.cell)
                if not self._has_teacher(teacher):
                    todo.append(teacher)
            todo.append(run)
        return todo

    def run(self, minutes=None):
        """Do what is missing.

        Args:
            minutes (float, optional): Start no run that is not expected to end within them, and
                end those that have not. Defaults to None: no limit.

        Returns:
            bool: Whether nothing is missing in the end.

        Raises:
            ConfigError: See :meth:`missing`; or another process works in the same folder.
        """
        until = None if minutes is None else time.monotonic() + 60 * minutes
        with self._locked():
            todo, running = self.missing(), {}
            self._environment = describe_environment()
            self._learn_durations()
            total, number = len(self.wanted()), len(todo)
            self._say(f'{self.study.name}: {number} runs to do, of them {number_of_teachers(todo)}')
            try:
                while todo or running:
                    self._collect(running, todo, total)
                    started = self._start(todo, running, until)
                    if until is not None and time.monotonic() >= until:
                        break
                    if not running and not started:
                        break
                    wait_for_any(running.values(), POLL)
            finally:
                for child in running.values():
                    child.end()
        self._report_rest(todo, running)
        return not todo and not running and not self.failed

    def _is_asked_for(self, run):
        return not self.only or any(fnmatch.fnmatch(run.key, pattern) for pattern in self.only)

    def _needs_teacher(self, run):
        return run.arm is None or self.study.is_distilled(run.arm)

    def _has_teacher(self, run):
        return self.results.state(run) == 'done' and self.trainer.has_teacher(run.cell)

    def _start(self, todo, running, until):
        """Start runs while processes are free; gives whether any was started or copied."""
        any_started = False
        for run in list(todo):
            if len(running) >= self.workers:
                break
            if not self._is_ready(run, todo, running):
                continue
            if until is not None and time.monotonic() + self._expected(run) > until:
                continue
            any_started = True
            todo.remove(run)
            known, trial = self.results.trial_of(run)
            other = self.results.same_run(run, trial)
            if other is not None:
                entries = self.results.read(other)
                self.results.write(run, {**entries, 'cell': run.cell, 'same_as': other.key})
                continue
            self.trainer.preload(run)
            running[run] = self._child(run, trial)
        return any_started

    def _is_ready(self, run, todo, running):
        """Whether all that a run needs is there and nothing that it would repeat is going on."""
        study = self.study
        if run.arm is None:
            going = {study.teacher_hash(other.cell) for other in running if other.arm is None}
            return study.teacher_hash(run.cell) not in going
        if study.is_distilled(run.arm):
            pending = any(o.arm is None and o.cell == run.cell for o in (*todo, *running))
            if pending or not self.trainer.has_teacher(run.cell):
                return False
        known, trial = self.results.trial_of(run)
        if not known:
            return False
        same = study.run_hash(run, trial)
        return not any(
            other.arm == run.arm and other.seed == run.seed and study.run_hash(other) == same
            for other in running
            if other.arm and not study.is_distilled(other.arm)
        )

    def _child(self, run, trial):
        folder = self.work_dir / run.key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = folder / 'run.log'
        return Child(lambda: self._do(run, trial, folder), log, [self._lock.fileno()])

    def _do(self, run, trial, folder):
        """A run, in the process that is forked for it."""
        started, used = time.monotonic(), time.process_time()
        if run.arm is None:
            found = self.trainer.train_teacher(run, folder)
        else:
            found = self.trainer.train_student(run, trial, folder)
        entries = dict(
            study=self.study.name,
            cell=run.cell,
            arm=run.arm or 'teacher',
            seed=run.seed,
            config_hash=self.study.run_hash(run, trial),
        )
        if run.arm and trial is not None:
            changes = self.study.arms[run.arm]['trials'][trial]
            entries['trial'] = dict(number=trial, changes=changes)
        if run.arm and self.study.is_distilled(run.arm):
            teacher = self.results.read(Run(run.cell)) or {}
            entries['teacher_sha256'] = teacher.get('checkpoint_sha256')
        entries.update(found)
        entries['seconds'] = round(time.monotonic() - started, 1)
        # On a machine that others use, too, the seconds say less than these.
        entries['cpu_seconds'] = round(time.process_time() - used, 1)
        entries['finished'] = datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M:%S UTC')
        entries['log'] = str((folder / 'run.log').relative_to(self.work_dir.parent))
        self.results.write(run, {**entries, **self._environment})

    def _collect(self, running, todo, total):
        """Note which children have ended."""
        for run, child in list(running.items()):
            if not child.done:
                continue
            del running[run]
            if child.failed or self.results.read(run) is None:
                self.failed.append(run)
                self._say(f'FAILED {run.key}: {child.log}')
                continue
            self._seconds.setdefault(_group(run), []).append(child.seconds)
            done = total - sum(r.arm is not None for r in (*todo, *running))
            done -= sum(r.arm is not None for r in self.failed)
            self._say(
                f'{done}/{total} {run.key}: {self._outcome(run)}, {child.seconds:.0f} s; '
                f'{_hours(self._time_left(todo, running))} left'
            )

    def _outcome(self, run):
        found = self.results.read(run)
        values = found.get('test') or found.get('validation') or {}
        return f'{self.study.metric} {values.get(self.study.metric, float("nan")):.2f}'

    def _learn_durations(self):
        for run in self.study.tuning_runs() + self.study.final_runs():
            found = self.results.read(run)
            if found and 'same_as' not in found and found.get('seconds'):
                self._seconds.setdefault(_group(run), []).append(found['seconds'])

    def _expected(self, run):
        known = self._seconds.get(_group(run)) or self._seconds.get('student', [GUESS])
        return statistics.median(known)

    def _time_left(self, todo, running):
        going = sum(max(self._expected(r) - c.seconds, 0) for r, c in running.items())
        return (going + sum(map(self._expected, todo))) / self.workers

    def _report_rest(self, todo, running):
        rest = len(todo) + len(running)
        if self.failed:
            self._say(f'{len(self.failed)} runs failed; their logs say why')
        if rest:
            self._say(f'{rest} runs are left: the same command goes on from here')

    def _say(self, text):
        self.stream.write(f'[{datetime.now():%H:%M:%S}] {text}\n')
        self.stream.flush()

    @contextlib.contextmanager
    def _locked(self):
        """Let no second process work in the same folder."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with open(self.work_dir / 'lock', 'w') as self._lock:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f'--work-dir: another process does the runs of {self.study.name} in '
                    f'{self.work_dir}; valid: wait for it, or another folder'
                ) from error
            yield


def number_of_teachers(runs):
    """str: How many of some runs are teachers, in words."""
    count = sum(run.arm is None for run in runs)
    return f'{count} teacher{"" if count == 1 else "s"}'


def _group(run):
    return 'teacher' if run.arm is None else 'student'


def _hours(seconds):
    minutes = round(seconds / 60)
    return f'{minutes // 60}:{minutes % 60:02d} h'
