"""The trainings of a study of image classifiers: a cell's teacher, and a student."""

import copy
import json
import math
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope

from btkd_det.evaluation.teacher_agreement import agreement
from btkd_det.models.backbones.cifar_classifier import UNIFORM_LINEAR, image_classifier_config
from btkd_det.provenance import describe_teacher
from btkd_det.registry import METRICS
from btkd_det.teacher_cache import write_cache

from .images import build_dataset, build_loader, logits_of_images
from .training import NO_TEST, last_metrics, one_cycle, save_weights, train, without_times

CACHE, CHOICES, WEIGHTS = 'cache.pt', 'choices.json', 'weights.pth'


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


class Classification:
    """Trains what a study of the kind ``classification`` asks for.

    Args:
        study (Study): The study.
        data_root (str | Path): Folder of the data.
        work_dir (Path): Folder of the study's weights, caches and logs.
    """

    def __init__(self, study, data_root, work_dir):
        self.study = study
        self.data_root = str(Path(data_root).resolve())
        self.work_dir = Path(work_dir)

    def preload(self, run):
        """Read the images of a run, so that the processes forked from this one share them."""
        student = self.study.student_of(run.cell)
        settings = [student] if run.arm else [student, self.study.teacher_of(run.cell)]
        for role in settings:
            for part in self._parts():
                build_dataset(self._images(part, role))

    def has_teacher(self, cell):
        """bool: Whether a cell's teacher has been trained and asked."""
        folder = self._cell_folder(cell)
        return all((folder / name).is_file() for name in (CACHE, CHOICES))

    def train_teacher(self, run, log_dir):
        """Train a cell's teacher, or take the one that another cell has, and ask it.

        Args:
            run (Run): Of the teacher.
            log_dir (Path): For the log.

        Returns:
            dict: Entries of its result.
        """
        settings = self.study.teacher_of(run.cell)
        weights = self.work_dir / 'teachers' / self.study.teacher_hash(run.cell) / WEIGHTS
        cfg = self._config(settings, settings['seed'])
        if not weights.is_file():
            runner = train(cfg, log_dir, **self._loaders(cfg, settings['seed']), **NO_TEST)
            save_weights(runner.model, weights)
        model = self._load(cfg, weights)
        described = dict(cfg.model.to_dict(), data_preprocessor=cfg.data_preprocessor.to_dict())
        return self._ask(model, run.cell, describe_teacher(described, weights))

    def train_student(self, run, trial, log_dir):
        """Train a student; the test images are not read in a run of the tuning.

        Args:
            run (Run): Of a student.
            trial (int, optional): Whose changes its arm has.
            log_dir (Path): For the log.

        Returns:
            dict: Entries of its result.
        """
        settings = self.study.student_of(run.cell)
        cfg = self._config(settings, run.seed, self.study.arm(run.arm, trial), run.cell)
        objects = self._loaders(cfg, run.seed)
        if run.trial is not None:
            objects |= NO_TEST
        else:
            objects['test_dataloader'] = build_loader(cfg.test_dataloader.to_dict(), run.seed)
        runner = train(cfg, log_dir, **objects)
        result = dict(validation=_short(last_metrics(runner))) if self._validates() else {}
        if run.trial is None:
            result['test'] = _short(without_times(runner.test()))
        return result

    def _config(self, settings, seed, arm=None, cell=None):
        """The config of a training, complete: ``tools/train.py`` would take it, too."""
        schedule = self.study.schedule
        batch_size, epochs = schedule['batch_size'], settings['epochs']
        train_set = self._images('train', settings)
        steps = math.ceil(len(build_dataset(train_set)) / batch_size)
        wrapper = 'btkd_det.BFloat16OptimWrapper' if schedule.get('bfloat16') else 'OptimWrapper'
        stop = settings.get('stop_after', epochs)
        cfg = dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['btkd_det', 'experiments.lab.classification']),
            model=self._model(settings, arm, cell),
            data_preprocessor=self._preprocessor(),
            optim_wrapper=dict(type=wrapper, optimizer=copy.deepcopy(schedule['optimizer'])),
            param_scheduler=one_cycle(
                epochs, steps, schedule.get('warmup', 0), settings.get('milestones')
            ),
            train_cfg=dict(by_epoch=True, max_epochs=stop, val_interval=stop),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=50), checkpoint=None),
            custom_hooks=[dict(type='btkd_det.ChannelsLastHook')],
            env_cfg=dict(cudnn_benchmark=False),
            randomness=dict(seed=seed),
        )
        for part in self._parts():
            cfg[f'{part}_dataloader'] = dict(
                batch_size=batch_size if part == 'train' else 250,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=part == 'train'),
                dataset=self._images(part, settings),
            )
        metric = dict(type='mmpretrain.Accuracy', topk=(1,))
        choices = str(self._cell_folder(cell) / CHOICES)
        beside = [dict(type='btkd_det.RecordedTeacherAgreement', choices=choices)]
        tested = [metric, *(beside if arm and arm.get('distill') else [])]
        cfg.update(test_cfg={}, test_evaluator=tested)
        if self._validates():
            cfg.update(val_cfg={}, val_evaluator=metric)
        return Config(cfg)

    def _model(self, settings, arm, cell):
        model = image_classifier_config(
            settings['backbone'],
            settings['in_channels'],
            self._num_classes(),
            init_cfg=dict(UNIFORM_LINEAR),
        )
        if arm:
            model['head']['loss']['loss_weight'] = arm.get('host_weight', 1.0)
        if arm and arm.get('distill'):
            cache = str(self._cell_folder(cell) / CACHE)
            model.update(type='btkd_det.DistilledImageClassifier', teacher=dict(cache=cache))
            model['distill'] = copy.deepcopy(arm['distill'])
        return model

    def _preprocessor(self):
        keys = ('mean', 'std', 'to_rgb')
        kept = {key: self.study.data[key] for key in keys if key in self.study.data}
        return dict(type='mmpretrain.ClsDataPreprocessor', num_classes=self._num_classes(), **kept)

    def _num_classes(self):
        return self.study.data['classes']

    def _images(self, part, settings):
        """Config of the images of a part, as a student or a teacher of these settings sees them."""
        data = self.study.data
        source = data['test'] if part == 'test' else data['train']
        split = dict(
            type='btkd_det.StudySplit',
            dataset=dict(source, data_root=self.data_root),
            part=part,
            classes=data['classes'],
            val_per_class=data.get('val_per_class', 0),
        )
        if part != 'test' and settings.get('label_noise'):
            split.update(label_noise=settings['label_noise'])
            split.update(noise_seed=settings.get('noise_seed', 0))
        images = dict(type='btkd_det.InMemoryImages', dataset=split)
        if part == 'train':
            keys = ('crop_padding', 'flip', 'views')
            images.update({key: data[key] for key in keys if key in data})
        return images

    def _loaders(self, cfg, seed):
        names = [f'{part}_dataloader' for part in self._parts() if part != 'test']
        return {name: build_loader(cfg[name].to_dict(), seed) for name in names}

    def _validates(self):
        return bool(self.study.data.get('val_per_class'))

    def _parts(self):
        return ('train', 'val', 'test') if self._validates() else ('train', 'test')

    def _load(self, cfg, weights):
        model = cfg.model.to_dict()
        model['data_preprocessor'] = cfg.data_preprocessor.to_dict()
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MMENGINE_MODELS.build(model)
        model.load_state_dict(torch.load(weights, weights_only=True)['state_dict'])
        return model.to(memory_format=torch.channels_last)

    def _ask(self, model, cell, described):
        """Write down what a teacher says of a cell's images; gives the entries of its result.

        Args:
            model (nn.Module): The teacher.
            cell (str): Whose images.
            described (dict): The teacher's part of the cache's header.
        """
        student = self.study.student_of(cell)
        images = build_dataset(self._images('train', student))
        said = [logits_of_images(model, images, view) for view in range(images.views or 0)]
        logits = torch.stack(said or [logits_of_images(model, images)])
        choices = {
            part: logits_of_images(model, build_dataset(self._images(part, student))).argmax(1)
            for part in self._parts()[1:]
        }
        folder = self._cell_folder(cell)
        header = dict(images.description, dataset='StudySplit', pixels='[]', **described)
        cache = folder / f'{CACHE}.part'
        write_cache(cache, logits, header)
        (folder / CHOICES).write_text(json.dumps(choices['test'].tolist()))
        cache.replace(folder / CACHE)
        said, clean = logits.argmax(2), torch.from_numpy(images.dataset.clean_labels)
        return dict(
            checkpoint_sha256=described['checkpoint_sha256'],
            test=dict(top1=self._right(choices['test'], 'test', student)),
            **(
                dict(validation=dict(top1=self._right(choices['val'], 'val', student)))
                if self._validates()
                else {}
            ),
            right_on_training_images=dict(
                by_the_students_labels=_percent(said == images.labels),
                by_the_clean_labels=_percent(said == clean),
            ),
        )

    def _right(self, choices, part, student):
        return _percent(choices == build_dataset(self._images(part, student)).labels)

    def _cell_folder(self, cell):
        folder = self.work_dir / 'cells' / str(cell)
        if cell is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def _short(metrics):
    """Metrics with short names: ``top1`` for ``accuracy/top1``."""
    return {key.removeprefix('accuracy/'): round(value, 4) for key, value in metrics.items()}


def _percent(right):
    return round(100 * float(right.float().mean()), 4)
