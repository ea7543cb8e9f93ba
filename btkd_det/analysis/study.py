"""A small study: every method of the recipes on some classes of CIFAR-100, several seeds."""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import json
import math
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope

from .. import preflight
from ..checkpoint import load_weights
from ..errors import ConfigError
from ..evaluation.teacher_agreement import agreement
from ..recipes import METHODS, PLAIN, find_method, recipe
from ..registry import DATASETS, HOOKS, METRICS
from ..teacher_cache import file_digest
from .demo import training_log
from .measure import environment
from .progress import Progress
from .subprocesses import run_command, terminated_as_interrupted

ROOT = Path(__file__).parents[2]
COMPARED = tuple(name for name in METHODS if name != 'teacher')
# Two processes of one thread each: a network of this size gains little from a second thread.
WORKERS = 2
# Seconds on two cores without other work, for the time left: an epoch of the teacher, a view of
# the cache, an epoch of a student, and what starts and ends each process.
TEACHER_EPOCH, VIEW, EPOCH, START = 40, 30, 20, 15
TEACHER, CACHE = 'teacher', "the teacher's logits"
CACHE_FILE, CHOICES_FILE = 'teacher_cache.pt', 'teacher_choices.json'
COMMAND = 'python tools/study.py --data-root FOLDER'


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs of a study have in common; another setting is another study.

    Args:
        dataset (str): Of the recipes.
        classes (int): The first so many of its classes.
        teacher (str): Its network.
        student (str): Its network.
        epochs (int): Of a student.
        teacher_epochs (int): Of the teacher.
        views (int): Fixed augmented views of each training image, of the teacher's cache; the
            student alone sees the same ones.
        precision (str): Of the forward passes in training; the weights are float32.
    """

    dataset: str = 'cifar100'
    classes: int = 20
    teacher: str = 'resnet56'
    student: str = 'resnet20'
    epochs: int = 5
    teacher_epochs: int = 12
    views: int = 4
    precision: str = 'bfloat16'


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16, on a CPU, too, which MMEngine's ``AmpOptimWrapper`` refuses.

    bfloat16 has the range of float32, so no loss needs scaling.
    """

    def optim_context(self, model):
        """Autocast within MMEngine's own context (of gradient accumulation)."""
        stack = contextlib.ExitStack()
        stack.enter_context(super().optim_context(model))
        device = next(model.parameters()).device.type
        stack.enter_context(torch.autocast(device, torch.bfloat16))
        return stack


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the weights out as the CPU's convolutions want them; the values stay."""

    def before_train(self, runner):
        """Convert the model once."""
        runner.model.to(memory_format=torch.channels_last)


@METRICS.register_module()
class RecordedTeacherAgreement(BaseMetric):
    """As ``TeacherAgreement``, of a teacher whose choices on the test images are on file.

    Args:
        choices (str): JSON file: the teacher's class of each test image, in their order.
    """

    default_prefix = 'teacher'

    def __init__(self, choices):
        super().__init__(collect_device='cpu')
        self.choices = json.loads(Path(choices).read_text())

    def process(self, data_batch, data_samples):
        """Note label, the student's choice and the teacher's of each image of a batch."""
        for sample in data_samples:
            choice = self.choices[sample['sample_idx']]
            self.results.append((int(sample['gt_label']), int(sample['pred_label']), choice))

    def compute_metrics(self, results):
        """See :func:`btkd_det.evaluation.teacher_agreement.agreement`."""
        return agreement(*torch.tensor(results).unbind(dim=1))


@dataclasses.dataclass
class Study:
    """All runs of a study, their folder and their result file.

    A run that is finished is in the result file and is not done again; one that was stopped in
    the middle starts over.

    Args:
        data_root (str): Folder of the data.
        out (Path): The result file.
        work_dir (Path): Folder for configs, checkpoints, logs and the teacher's cache.
        setting (Setting): What the runs have in common.
        methods (Sequence[str]): Keys of ``METHODS``.
        seeds (Sequence[int]): Of each method's runs.
        threads (int): Of the teacher, which runs alone.
    """

    data_root: str
    out: Path
    work_dir: Path
    setting: Setting = dataclasses.field(default_factory=Setting)
    methods: tuple = COMPARED
    seeds: tuple = (0, 1, 2)
    threads: int = WORKERS

    def __post_init__(self):
        self.out, self.work_dir = Path(self.out), Path(self.work_dir).resolve()
        self.data_root = str(Path(self.data_root).resolve())
        for method in self.methods:
            find_method(method)

    def run(self, stream=None):
        """Do all runs that are not done yet.

        Args:
            stream (TextIO, optional): Where the progress goes. Defaults to standard output.

        Returns:
            dict: The content of the result file.

        Raises:
            ConfigError: The result file is of another setting or another teacher, or there is no
                data.
            CommandFailed: A training ended with an error.
        """
        cfg = self.config('teacher', 0)
        preflight.check_data(cfg)
        setting, seeds = self.setting, len(self.seeds)
        runs = [(method, seed) for seed in self.seeds for method in self.methods]
        seconds = setting.epochs * EPOCH + START
        progress = Progress(
            {
                TEACHER: setting.teacher_epochs * TEACHER_EPOCH + START,
                CACHE: setting.views * VIEW + START,
                f'{len(self.methods)} methods, {seeds} seeds': seconds * len(runs) / WORKERS,
            },
            stream,
        )
        try:
            with terminated_as_interrupted():
                self._train_teacher(progress)
                self._ask_teacher(progress)
                results = self._claim()
                self._run_all(runs, results, progress)
        except BaseException:
            progress.abandon()
            raise
        return results

    def config(self, method, seed):
        """The config of a run: the recipe's, shortened, in the CPU's fastest numbers.

        Args:
            method (str): A key of ``METHODS``.
            seed (int): Of the run.

        Returns:
            Config: To write into a file for ``tools/train.py``.
        """
        setting = self.setting
        taught = method not in PLAIN
        cfg = recipe(
            setting.dataset,
            setting.teacher,
            setting.student,
            method,
            data='memory',
            classes=setting.classes,
            epochs=setting.teacher_epochs if method == 'teacher' else setting.epochs,
            views=None if method == 'teacher' else setting.views,
            cache=str(self.work_dir / CACHE_FILE) if taught else None,
            teacher_checkpoint=str(self._teacher_checkpoint) if taught else None,
            data_root=self.data_root,
        )
        cfg.custom_imports.imports = [*cfg.custom_imports.imports, __name__]
        if setting.precision == 'bfloat16':
            cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
        cfg.custom_hooks = [dict(type='btkd_det.ChannelsLastHook')]
        cfg.randomness.seed = seed
        epochs = cfg.train_cfg.max_epochs
        cfg.train_cfg.val_interval = cfg.default_hooks.checkpoint.interval = epochs
        cfg.default_hooks.logger.interval = 20
        if method != 'teacher':
            choices = str(self.work_dir / CHOICES_FILE)
            metric = dict(type='btkd_det.RecordedTeacherAgreement', choices=choices)
            cfg.val_evaluator = [cfg.val_evaluator, metric]
        return cfg

    @property
    def _teacher_checkpoint(self):
        return self.work_dir / 'teacher' / f'epoch_{self.setting.teacher_epochs}.pth'

    def _train_teacher(self, progress):
        if self._teacher_checkpoint.is_file():
            progress.skip(TEACHER, 'kept from an earlier run')
            return
        progress.start(TEACHER)
        folder = self.work_dir / 'teacher'
        total = self._iterations(self.setting.teacher_epochs)
        show = lambda: progress.update(done_share(folder, total))
        self._train('teacher', 0, folder, show, self.threads)
        progress.finish()

    def _ask_teacher(self, progress):
        """The teacher's logits of all views of the training images, its choices on the others."""
        files = self.work_dir / CACHE_FILE, self.work_dir / CHOICES_FILE
        if all(file.is_file() for file in files):
            progress.skip(CACHE, 'kept from an earlier run')
            return
        progress.start(CACHE)
        cfg = self.config('kd', 0)
        del cfg.model.teacher['cache']
        cfg.model.teacher.dtype = self.setting.precision
        path = self.work_dir / 'cache.py'
        cfg.dump(path)
        self._call(
            'cache_teacher',
            [path, '--out', files[0]],
            self.work_dir,
            lambda: progress.update(0.0),
            self.threads,
        )
        choices = choices_on_test(self.config('teacher', 0), self._teacher_checkpoint)
        files[1].write_text(json.dumps(choices))
        progress.finish()

    def _claim(self):
        """The result file as it is, or a new one's content; raises ConfigError."""
        described = dict(
            setting=dataclasses.asdict(self.setting),
            schedule=schedule(self.config('student', 0)),
            teacher=dict(
                checkpoint_sha256=file_digest(self._teacher_checkpoint),
                metrics=self._metrics_of(self.work_dir / 'teacher'),
            ),
        )
        if not self.out.is_file():
            return dict(command=COMMAND, **described, environment=self._environment(), runs={})
        results = json.loads(self.out.read_text())
        for key, value in described.items():
            if results.get(key) != value:
                raise ConfigError(
                    f'--out: {self.out} holds the runs of another study: {key} is '
                    f'{results.get(key)!r} there, {value!r} here; valid: a new file, or '
                    f'the options and the --work-dir that it was begun with'
                )
        return results

    def _run_all(self, runs, results, progress):
        """Do the runs that are missing, two at a time; each goes into the file at once."""
        missing = [run for run in runs if _key(*run) not in results['runs']]
        step = f'{len(self.methods)} methods, {len(self.seeds)} seeds'
        progress.start(step)
        shares = dict.fromkeys(missing, 0.0)
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            waiting = {pool.submit(self._run, *run, shares, stop): run for run in missing}
            try:
                while waiting:
                    done, _ = concurrent.futures.wait(waiting, 1, 'FIRST_COMPLETED')
                    for future in done:
                        method, seed = waiting.pop(future)
                        results['runs'][_key(method, seed)] = future.result()
                        write_json(self.out, results)
                        shares.pop((method, seed))
                    finished = len(runs) - len(shares)
                    going = [f'{_key(*r)} {share:.0%}' for r, share in shares.items() if share]
                    progress.update(
                        (finished + sum(shares.values())) / len(runs),
                        f'{finished}/{len(runs)} done; {", ".join(going)}',
                    )
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        progress.finish()

    def _run(self, method, seed, shares, stop):
        """Train and test one student; gives its entry of the result file."""
        folder = self.work_dir / f'{method}_seed{seed}'
        shutil.rmtree(folder, ignore_errors=True)
        started, total = time.monotonic(), self._iterations(self.setting.epochs)

        def look():
            if stop.is_set():
                raise KeyboardInterrupt
            shares[method, seed] = max(done_share(folder, total), 0.001)

        self._train(method, seed, folder, look, 1)
        metrics = self._metrics_of(folder)
        return dict(
            metrics,
            method=method,
            seed=seed,
            seconds=round(time.monotonic() - started),
            commit=environment()['commit'],
        )

    def _train(self, method, seed, folder, on_poll, threads):
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the work directory, where the training writes the config that results.
        path = folder.with_suffix('.py')
        self.config(method, seed).dump(path)
        self._call('train', [path, '--work-dir', folder], folder, on_poll, threads)

    def _call(self, tool, arguments, folder, on_poll, threads):
        command = [sys.executable, ROOT / 'tools' / f'{tool}.py', *arguments]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        variables = {'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': path}
        run_command(command, folder / f'{tool}.log', on_poll, variables)

    def _iterations(self, epochs):
        # Only for the progress: CIFAR-100 has 500 training images of each class.
        return epochs * math.ceil(self.setting.classes * 500 / 64)

    def _metrics_of(self, folder):
        """What the last epoch's validation logged, in percent and numbers of images."""
        line = [line for line in training_log(folder) if 'accuracy/top1' in line][-1]
        return {
            key.replace('accuracy/', ''): round(value, 4)
            for key, value in line.items()
            if key.startswith(('accuracy/', 'teacher/'))
        }

    def _environment(self):
        return environment() | dict(
            threads=f'{WORKERS} processes of 1 thread each',
            mmpretrain=importlib.import_module('mmpretrain').__version__,
        )


def done_share(folder, total):
    """The share of a training that its work folder shows as done.

    Args:
        folder (Path): The work folder.
        total (int): Iterations of the whole training.

    Returns:
        float: 0 to 1.
    """
    steps = [line for line in training_log(folder) if 'loss' in line]
    return min(steps[-1]['step'] / total, 1.0) if steps else 0.0


def schedule(cfg):
    """What a result has to say of the training, the same for all methods.

    Args:
        cfg (Config): Of the student alone.

    Returns:
        dict: Optimizer, batch size, epochs, milestones.
    """
    return dict(
        optimizer=cfg.optim_wrapper.optimizer.to_dict(),
        batch_size=cfg.train_dataloader.batch_size,
        epochs=cfg.train_cfg.max_epochs,
        milestones=[m for step in cfg.param_scheduler for m in step.milestones],
    )


def choices_on_test(cfg, checkpoint):
    """The class that a classifier chooses for each test image.

    Args:
        cfg (Config): Its config; the test images lie in memory.
        checkpoint (str | Path): Its weights.

    Returns:
        list[int]: One for each image, in their order.
    """
    model = preflight.build_model(cfg)
    load_weights(model, str(checkpoint), 'teacher.checkpoint')
    model.eval()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        images = DATASETS.build(cfg.test_dataloader.dataset)
    choices = []
    with torch.inference_mode():
        for rows in torch.arange(len(images)).split(250):
            data = model.data_preprocessor(images.__getitems__(rows))
            choices += model(data['inputs'], mode='tensor').argmax(dim=1).tolist()
    return choices


def write_json(path, content):
    """Write a JSON file; whoever reads it at any time finds it complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(content, indent=2) + '\n')
    part.rename(path)


def _key(method, seed):
    return f'{method}/{seed}'
