"""The trainings of a study of detectors: a cell's teacher, and a student."""

import contextlib
import copy
import fcntl
import os
from pathlib import Path

import torch
from mmengine.config import Config

from btkd_det.bias import is_right
from btkd_det.config import distilled_type, make_distilled
from btkd_det.config.reading import innermost_dataset, read_config
from btkd_det.errors import ConfigError
from btkd_det.report import rows
from btkd_det.teacher_cache import file_digest
from experiments.annotations import drop_boxes, flip_classes, read

from .results import read_json, write_json
from .study import digest
from .training import NO_TEST, last_metrics, save_weights, train, without_times

SPOILED = ('flip', 'drop', 'seed')


class Detection:
    """Trains what a study of the kind ``detection`` asks for.

    Args:
        study (Study): The study.
        data_root (str | Path): Folder of the data.
        work_dir (Path): Folder of the study's weights, annotations and logs.
    """

    def __init__(self, study, data_root, work_dir):
        self.study = study
        self.data_root = str(Path(data_root).resolve())
        self.work_dir = Path(work_dir)
        if not study.data.get('root_variable'):
            raise ConfigError(
                'data.root_variable: missing; valid: the environment variable by which the '
                'configs of the study find their data, such as SHAPES_ROOT'
            )

    def preload(self, run):
        """Nothing: the images lie in files."""

    def has_teacher(self, cell):
        """bool: Whether a cell's teacher has been trained."""
        return self._weights(cell).is_file()

    def train_teacher(self, run, log_dir):
        """Train a cell's teacher, or take the one that another cell has, and look what it errs on.

        Args:
            run (Run): Of the teacher.
            log_dir (Path): For the log.

        Returns:
            dict: Entries of its result.
        """
        settings, weights = self.study.teacher_of(run.cell), self._weights(run.cell)
        cfg = self.config(settings, settings.get('seed', 0))
        result = dict()
        if not weights.is_file():
            result.update(self._go_on(cfg, settings))
            runner = train(cfg, log_dir)
            result['validation'] = _short(last_metrics(runner))
            result['test'] = _short(without_times(runner.test()))
            meta = dict(dataset_meta=runner.train_dataloader.dataset.metainfo)
            write_json(weights.with_suffix('.json'), result)
            save_weights(runner.model, weights, meta)
        else:
            result.update(read_json(weights.with_suffix('.json')))
        return dict(
            checkpoint_sha256=file_digest(weights), **result, **self._errors(cfg, weights, run.cell)
        )

    def train_student(self, run, trial, log_dir):
        """Train a student; the test images are not read in a run of the tuning.

        Args:
            run (Run): Of a student.
            trial (int, optional): Whose changes its arm has.
            log_dir (Path): For the log.

        Returns:
            dict: Entries of its result.
        """
        arm = self.study.arm(run.arm, trial)
        settings = self.study.student_of(run.cell)
        cfg = self.config(settings, run.seed)
        if arm.get('distill'):
            self._add_teacher(cfg, arm, run.cell)
        result = self._go_on(cfg, settings)
        runner = train(cfg, log_dir, **(NO_TEST if run.trial is not None else {}))
        result['validation'] = _short(last_metrics(runner))
        if run.trial is None:
            result['test'] = _short(without_times(runner.test()))
        return result

    def config(self, settings, seed):
        """The config of a plain training.

        Args:
            settings (dict): Of a student or a teacher: ``config``, ``changes``, ``annotations``,
                ``stop_after``.
            seed (int): Of the training.

        Returns:
            Config: To train by.
        """
        with _variable(self.study.data['root_variable'], self.data_root):
            cfg = read_config(settings['config'], 'config')
        cfg.merge_from_dict(copy.deepcopy(settings.get('changes') or {}))
        dataset = innermost_dataset(cfg.train_dataloader.dataset)
        if settings.get('annotations'):
            source = Path(dataset.get('data_root') or '') / dataset.ann_file
            dataset.ann_file = self._annotations(settings['annotations'], source)
        stop = settings.get('stop_after') or cfg.train_cfg.max_epochs
        cfg.train_cfg.update(max_epochs=stop, val_interval=stop)
        cfg.default_hooks.update(checkpoint=None)
        cfg.default_hooks.logger.update(interval=20)
        cfg.val_evaluator = self._metric(cfg.val_evaluator)
        cfg.test_evaluator = self._metric(cfg.test_evaluator)
        cfg.randomness = dict(seed=seed)
        return cfg

    def _go_on(self, cfg, settings):
        """Have a training go on from the weights of its start, which may have one itself."""
        if not settings.get('start'):
            return {}
        weights = self._start(settings['start'])
        cfg.load_from = str(weights)
        return dict(start_sha256=file_digest(weights))

    def _start(self, settings):
        """The weights that trainings go on from, trained once by the first that needs them."""
        folder = self.work_dir / 'starts' / digest(dict(data=self.study.data, start=settings))
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / 'weights.pth'
        with open(folder / 'lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not weights.is_file():
                cfg = self.config(settings, settings.get('seed', 0))
                self._go_on(cfg, settings)
                runner = train(cfg, folder, **NO_TEST)
                write_json(folder / 'weights.json', _short(last_metrics(runner)))
                meta = dict(dataset_meta=runner.train_dataloader.dataset.metainfo)
                save_weights(runner.model, weights, meta)
        return weights

    def _add_teacher(self, cfg, arm, cell):
        teacher = self.config(self.study.teacher_of(cell), 0)
        guest = dict(config=teacher.to_dict(), checkpoint=str(self._weights(cell)))
        make_distilled(cfg, distilled_type(cfg.model), guest, copy.deepcopy(arm['distill']))

    def _annotations(self, wanted, source):
        """The path of a training annotation file: one of the data set's, or one to be spoiled."""
        if isinstance(wanted, str):
            return str(Path(self.data_root) / wanted)
        unknown = set(wanted) - set(SPOILED)
        if unknown:
            raise ConfigError(
                f'annotations: unknown key {sorted(unknown)[0]!r}; valid: a file below the data '
                f'root, or a dict of {", ".join(SPOILED)}'
            )
        path = self.work_dir / 'annotations' / f'{source.stem}_{digest(wanted)}.json'
        if not path.is_file():
            seed = wanted.get('seed', 0)
            content = drop_boxes(read(source), wanted.get('drop', 0.0), seed)
            if wanted.get('flip'):
                content = flip_classes(content, wanted['flip'], seed)
            write_json(path, content)
        return str(path)

    def _metric(self, evaluator):
        ann_file = evaluator['ann_file']
        return dict(type='btkd_det.CocoAP', ann_file=ann_file, metric='bbox')

    def _weights(self, cell):
        return self.work_dir / 'teachers' / self.study.teacher_hash(cell) / 'weights.pth'

    def _errors(self, cfg, weights, cell):
        """The teacher's right-rates at RoIs: on the test images, and on those of the student.

        Without RoIs there are none to tell.
        """
        if not cfg.model.get('roi_head'):
            return {}
        student = self.config(self.study.student_of(cell), 0)
        found = {}
        for name, loader in (
            ('right_on_test_rois', cfg.test_dataloader),
            ('right_on_training_rois', student.train_dataloader),
        ):
            asked = Config(dict(cfg.to_dict(), train_dataloader=loader.to_dict()))
            found[name] = right_rates(asked, weights)
        return dict(error=round(100 - found['right_on_test_rois']['foreground'], 4), **found)


def right_rates(cfg, weights):
    """How often a detector's last box head is right at the RoIs of its training data.

    Args:
        cfg (Config): Of a two-stage detector.
        weights (Path): Its checkpoint.

    Returns:
        dict[str, float]: ``foreground`` and ``background``, in percent.
    """
    from btkd_det.checkpoint import load_weights
    from btkd_det.preflight import build_model

    model = build_model(cfg)
    load_weights(model, str(weights), 'teacher.checkpoint')
    counts = torch.zeros(2, 2)
    for _, parts in rows.walk(model, rows.data(cfg).batches):
        last = parts[-1]
        right = is_right(last.logits, last.labels).float()
        background = (last.labels == last.logits.shape[1] - 1).float()
        for kind, chosen in enumerate((1 - background, background)):
            counts[kind] += torch.stack([(right * chosen).sum(), chosen.sum()])
    rates = 100 * counts[:, 0] / counts[:, 1].clamp(min=1)
    return {k: round(float(v), 4) for k, v in zip(('foreground', 'background'), rates, strict=True)}


@contextlib.contextmanager
def _variable(name, value):
    """Within this context an environment variable has a value: configs read it."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _short(metrics):
    """COCO's numbers in percent by their names: ``AP`` for ``coco/bbox_AP``; -1 stays."""
    return {
        key.rpartition('bbox_')[2]: round(100 * value, 4) if value >= 0 else value
        for key, value in metrics.items()
    }
