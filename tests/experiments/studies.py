"""Small studies for the tests of the laboratory, and a trainer that plays."""

import copy
import os
import time
from pathlib import Path

from experiments.lab.laboratory import Laboratory
from experiments.lab.study import study_of

KD = dict(type='btkd_det.KDLoss', temperature=4.0)
CONTENT = dict(
    name='tiny',
    kind='classification',
    metric='top1',
    data=dict(
        train=dict(type='CustomDataset', data_prefix='train'),
        test=dict(type='CustomDataset', data_prefix='test'),
        classes=3,
        val_per_class=2,
        crop_padding=2,
        flip=0.5,
        views=2,
        mean=[120.0, 110.0, 100.0],
        std=[60.0, 55.0, 50.0],
    ),
    schedule=dict(batch_size=8, optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
    student=dict(
        backbone=dict(type='btkd_det.CIFARResNet', depth=8, stem_channels=4, base_channels=4),
        in_channels=16,
        epochs=1,
    ),
    teacher=dict(
        backbone=dict(type='btkd_det.CIFARResNet', depth=8, stem_channels=4, base_channels=4),
        in_channels=16,
        epochs=2,
        seed=0,
    ),
    cells=dict(good={}, noisy=dict(teacher=dict(label_noise=0.5))),
    arms=dict(
        alone=dict(host_weight=1.0),
        kd=dict(title='KD', host_weight=0.5, distill=dict(logits=KD)),
    ),
    references=dict(alone='alone', kd='kd'),
    seeds=[0, 1],
)
TUNING = dict(trials=2, seeds=[100], cells=['good'])
TRIALS = [
    {'host_weight': 0.7, 'distill.logits.loss_weight': 0.3},
    {'host_weight': 0.3, 'distill.logits.loss_weight': 0.7},
]


def study(tuned=False, **changes):
    """The tiny study with other entries; ``tuned`` gives KD two trials."""
    content = {**copy.deepcopy(CONTENT), **changes}
    if tuned:
        content['tuning'] = TUNING
        content['arms']['kd']['trials'] = TRIALS
    return study_of(content, 'study')


class Player:
    """A trainer that gives numbers at once, and notes what it was asked for in a file.

    Args:
        folder (Path): For the notes.
        seconds (float): That each run takes.
        fails (Collection[str]): Keys of the runs that raise.
    """

    def __init__(self, folder, seconds=0.0, fails=()):
        self.folder, self.seconds, self.fails = Path(folder), seconds, fails
        self.folder.mkdir(parents=True, exist_ok=True)

    def preload(self, run):
        """Nothing to read."""

    def has_teacher(self, cell):
        return (self.folder / f'{cell}.teacher').is_file()

    def train_teacher(self, run, log_dir):
        self._play(run)
        (self.folder / f'{run.cell}.teacher').touch()
        return dict(checkpoint_sha256='0' * 64, test=dict(top1=60.0), validation=dict(top1=61.0))

    def train_student(self, run, trial, log_dir):
        self._play(run)
        value = 50.0 + run.seed % 7 + (10 * (trial or 0))
        found = dict(validation=dict(top1=value))
        return found if run.trial is not None else {**found, 'test': dict(top1=value)}

    def asked(self):
        """Keys of the runs that were begun, in order."""
        path = self.folder / 'asked'
        return path.read_text().split() if path.is_file() else []

    def pids(self):
        """Processes that have begun a run."""
        path = self.folder / 'pids'
        return list(map(int, path.read_text().split())) if path.is_file() else []

    def _play(self, run):
        with open(self.folder / 'pids', 'a') as file:
            file.write(f'{os.getpid()}\n')
        with open(self.folder / 'asked', 'a') as file:
            file.write(f'{run.key}\n')
        if run.key in self.fails:
            raise RuntimeError('no memory')
        time.sleep(self.seconds)


def laboratory(folder, the_study=None, trainer=None, **options):
    """A laboratory below a folder, whose trainer plays unless another one is given."""
    the_study = the_study or study()
    trainer = trainer or Player(folder / 'notes')
    return Laboratory(the_study, trainer, folder / 'results', folder / 'work', **options)
