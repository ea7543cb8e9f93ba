"""The demo: a teacher, and a small student that goes on alone, with KD and with BTKD."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import shutil
import statistics
import sys
from pathlib import Path

import mmdet
import torch

import btkd_det
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from experiments.subprocesses import run_command, terminated_as_interrupted

from .detections import detect, load_detector
from .progress import Progress
from .report import write_report
from .shapes import ShapesSpec, make_shapes

MARKER = 'demo.json'
# Validation images in the report, and the least number of objects in each.
PICTURES, OBJECTS = 6, 3
# More threads than this make models of this size slower, not faster.
MAX_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of the models that are compared.

    Args:
        key (str): Name of its folder.
        title (str): Name in the table.
        config (str): Its config below ``configs/``.
        seconds (float): What training and testing it takes on two cores, for the time left.
        taught (bool): Whether it learns from the first entry, the teacher.
        goes_on_from (str, optional): Key of the entry whose weights it begins with.
        options (tuple[str]): Of its config, as ``--cfg-options`` takes them.
    """

    key: str
    title: str
    config: str
    seconds: float
    taught: bool = False
    goes_on_from: str | None = None
    options: tuple = ()


# As the study D1 has them: from nothing, trainings so short differ by points of AP with the seed
# alone, and no comparison of one run each would say anything.
VALIDATED = ('train_cfg.val_interval=1',)
ENTRIES = (
    Entry(
        'teacher',
        'teacher',
        'shapes/faster-rcnn_r18w32_fpn_12e_shapes.py',
        400,
        options=('train_dataloader.dataset.indices=1500', 'train_cfg.val_interval=4'),
    ),
    Entry('start', 'student so far', 'shapes/faster-rcnn_r18w8_fpn_5e_shapes1500-3000.py', 120),
    Entry(
        'student',
        'student alone',
        'shapes/faster-rcnn_r18w8_fpn_4e_shapes600.py',
        65,
        goes_on_from='start',
        options=VALIDATED,
    ),
    *(
        Entry(
            key,
            title,
            f'shapes/{key}_faster-rcnn_r18w8-r18w32_fpn_4e_shapes600.py',
            75,
            taught=True,
            goes_on_from='start',
            options=VALIDATED,
        )
        for key, title in (('kd', 'student + KD'), ('btkd', 'student + BTKD (robust)'))
    ),
)
#: Half of the images for the teacher, half for the student so far.
IMAGES = 3000
DRAW, LOOK = 'draw the data', 'pictures and report'


@dataclasses.dataclass
class Demo:
    """One run of the demo.

    A model whose training and test are finished is kept and not trained again, as long as its
    config, seed, data, teacher and the code that trains it are the same. One that was stopped
    in the middle starts over.

    Args:
        root (Path): The checkout, with ``tools/`` and ``configs/``.
        out (Path): Folder for everything: data, checkpoints, logs, report.
        seed (int): Seed of the data and of every training.
        spec (ShapesSpec, optional): The data. Its seed gives way to ``seed``.
        entries (Sequence[Entry]): The models, the teacher first.
    """

    root: Path
    out: Path
    seed: int = 0
    spec: ShapesSpec = dataclasses.field(default_factory=lambda: ShapesSpec(train=IMAGES))
    entries: tuple = ENTRIES

    def __post_init__(self):
        self.root, self.out = Path(self.root).resolve(), Path(self.out).resolve()
        self.spec = dataclasses.replace(self.spec, seed=self.seed)

    def run(self, fresh=False, stream=None):
        """Do all that is not done yet.

        Args:
            fresh (bool): Start over: delete what earlier runs left in ``out``.
            stream (TextIO, optional): Where the progress goes. Defaults to standard output.

        Returns:
            list[dict]: A row of the table for each model.

        Raises:
            ConfigError: ``out`` has something in it that is not the demo's, or data drawn with
                other parameters.
            CommandFailed: A training or a test ended with an error.
        """
        self._claim(fresh)
        steps = {DRAW: 20, **{e.title: e.seconds for e in self.entries}, LOOK: 15}
        progress = Progress(steps, stream)
        try:
            with terminated_as_interrupted():
                self._draw(progress)
                rows = [self._run_entry(entry, progress) for entry in self.entries]
                progress.start(LOOK)
                self._report(rows)
                progress.finish()
        except BaseException:
            progress.abandon()
            raise
        return rows

    @property
    def report(self):
        """The page to open."""
        return self.out / 'report.html'

    @functools.cached_property
    def configs(self):
        """The config of each entry by its key, read once: it takes MMEngine a second."""
        return {e.key: read_config(self._config(e), 'config') for e in self.entries}

    def fingerprint(self, entry):
        """What a finished model depends on, as a hash."""
        parts = [
            json.dumps(self.configs[entry.key].to_dict(), default=str),
            json.dumps(dataclasses.asdict(self.spec)),
            str(self.seed),
            *entry.options,
            torch.__version__,
            mmdet.__version__,
            *(path.read_text() for path in self._sources()),
        ]
        if entry.taught:
            parts.append(self.fingerprint(self.entries[0]))
        if entry.goes_on_from:
            parts.append(self.fingerprint(self._entry(entry.goes_on_from)))
        return hashlib.sha256('\n'.join(parts).encode()).hexdigest()

    def _claim(self, fresh):
        marker = self.out / MARKER
        if self.out.exists() and not marker.is_file() and any(self.out.iterdir()):
            raise ConfigError(
                f'--out: {self.out} has something in it that this demo did not write; valid: a '
                'new or an empty folder, or one of an earlier demo'
            )
        if fresh:
            shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True, exist_ok=True)
        marker.write_text('{"what": "output of tools/demo.py"}\n')

    def _draw(self, progress):
        progress.start(DRAW)
        show = lambda done, total: progress.update(done / total, f'{done}/{total}')
        try:
            drawn = make_shapes(self.out / 'data', self.spec, show)
        except ConfigError as error:
            raise ConfigError(f'{error}; or start over with --fresh') from error
        if drawn:
            progress.finish()
        else:
            progress.skip(DRAW, 'kept from an earlier run')

    def _run_entry(self, entry, progress):
        folder = self.out / entry.key
        done = folder / 'done.json'
        fingerprint = self.fingerprint(entry)
        row = json.loads(done.read_text()) if done.is_file() else {}
        if row.get('fingerprint') == fingerprint and Path(row['checkpoint']).is_file():
            progress.skip(entry.title, f'kept from an earlier run, AP {100 * row["AP"]:.1f}')
            return row
        progress.start(entry.title)
        shutil.rmtree(folder, ignore_errors=True)
        self._train(entry, folder, progress)
        checkpoint = self._trained(entry.key)
        row = self._test(entry, folder, checkpoint)
        log = training_log(folder)
        row.update(
            title=entry.title,
            key=entry.key,
            config=str(self._config(entry)),
            checkpoint=checkpoint,
            seconds_per_step=seconds_per_step(log),
            curve=validation_curve(log),
            fingerprint=fingerprint,
        )
        # Under its name only when it is complete: this file says that the model is finished.
        part = folder / 'done.part'
        part.write_text(json.dumps(row, indent=2) + '\n')
        part.rename(done)
        progress.finish(f'AP {100 * row["AP"]:.1f}')
        return row

    def _train(self, entry, folder, progress):
        cfg = self.configs[entry.key]
        epochs = cfg.train_cfg.max_epochs
        steps = epochs * math.ceil(self._images(entry) / cfg.train_dataloader.batch_size)
        options = [
            f'data_root={self.out / "data"}',
            f'randomness.seed={self.seed}',
            *entry.options,
        ]
        if entry.taught:
            options.append(f'model.teacher.checkpoint={self._trained(self.entries[0].key)}')
        if entry.goes_on_from:
            options.append(f'load_from={self._trained(entry.goes_on_from)}')

        def show():
            log = training_log(folder)
            step = max((line['iter'] for line in log if 'loss' in line), default=0)
            note = f'epoch {min(step * epochs // steps + 1, epochs)}/{epochs}'
            curve = validation_curve(log)
            if curve:
                note += f', val AP {100 * curve[-1]:.1f}'
            # The rest of the step is the test.
            progress.update(0.9 * step / steps, note)

        arguments = [self._config(entry), '--work-dir', folder, '--cfg-options', *options]
        self._call('train', arguments, folder, show)

    def _entry(self, key):
        return next(entry for entry in self.entries if entry.key == key)

    def _trained(self, key):
        """The last checkpoint of an entry."""
        return (self.out / key / 'last_checkpoint').read_text().strip()

    def _images(self, entry):
        """How many images it trains on."""
        words = [word.partition('=')[2] for word in entry.options if '.indices=' in word]
        dataset = self.configs[entry.key].train_dataloader.dataset
        chosen = int(words[0]) if words else dataset.get('indices', self.spec.train)
        return min(chosen if isinstance(chosen, int) else len(chosen), self.spec.train)

    def _test(self, entry, folder, checkpoint):
        """COCO's twelve numbers on the held-out split, by their names."""
        out = folder / 'test.json'
        options = ['--cfg-options', f'data_root={self.out / "data"}']
        self._call('test', [self._config(entry), checkpoint, '--out', out, *options], folder)
        metrics = json.loads(out.read_text())['metrics']
        return {name.rpartition('bbox_')[2]: value for name, value in metrics.items()}

    def _call(self, tool, arguments, folder, on_poll=None):
        command = [sys.executable, self.root / 'tools' / f'{tool}.py', *arguments]
        run_command(command, folder / f'{tool}.log', on_poll, self._environment())

    def _environment(self):
        path = os.pathsep.join(filter(None, [str(self.root), os.environ.get('PYTHONPATH')]))
        threads = min(available_cpus(), MAX_THREADS)
        return {'OMP_NUM_THREADS': str(threads), **os.environ, 'PYTHONPATH': path}

    def _report(self, rows):
        images, truths, names = pick_images(self.out / 'data', 'val', PICTURES, OBJECTS)
        found = []
        for row in rows:
            model = load_detector(row['config'], row['checkpoint'])
            row['parameters'] = sum(p.numel() for p in model.parameters())
            found.append(detect(model, images))
        (self.out / 'results.json').write_text(json.dumps(rows, indent=2) + '\n')
        write_report(self.report, rows, self.spec, images, truths, found, names)

    def _config(self, entry):
        return self.root / 'configs' / entry.config

    def _sources(self):
        """The code that trains and tests; what draws pictures of it may change."""
        package = Path(btkd_det.__file__).parent
        files = [p for p in package.rglob('*.py') if package / 'report' not in p.parents]
        return sorted(files) + [self.root / 'tools' / name for name in ('train.py', 'test.py')]


def training_log(folder):
    """What MMEngine has logged in a work folder so far.

    Args:
        folder (Path): The work folder.

    Returns:
        list[dict]: A dict for each logged interval (``iter``, ``time``, ``loss``, ...) and for
        each validation. A line that is being written is left out.
    """
    lines = []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def seconds_per_step(log):
    """Median over the logged intervals but the first, in which memory is first allocated."""
    times = [line['time'] for line in log if 'loss' in line]
    return statistics.median(times[1:] or times)


def validation_curve(log):
    """AP of each validation in order, from 0 to 1."""
    return [line['coco/bbox_mAP'] for line in log if 'coco/bbox_mAP' in line]


def pick_images(data, split, count, objects):
    """The first images of a split with at least so many objects: nobody picks them by hand.

    Args:
        data (Path): Folder of the set.
        split (str): Name of the split.
        count (int): How many images.
        objects (int): Least number of objects, crowds aside.

    Returns:
        tuple: Image files; their annotations, a list of ``(box, label, crowd)`` with the box as
        x1, y1, x2, y2 in pixels for each; and the class names.
    """
    content = json.loads((data / 'annotations' / f'instances_{split}.json').read_text())
    truths = {image['id']: [] for image in content['images']}
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        box = (x, y, x + w, y + h)
        truths[a['image_id']].append((box, a['category_id'] - 1, bool(a['iscrowd'])))
    files, kept = [], []
    for image in content['images']:
        truth = truths[image['id']]
        if len(files) < count and sum(not crowd for _, _, crowd in truth) >= objects:
            files.append(data / split / image['file_name'])
            kept.append(truth)
    return files, kept, [c['name'] for c in content['categories']]


def available_cpus():
    """CPUs that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
