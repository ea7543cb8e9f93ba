"""A picture of what teacher and student make of a few images, every few epochs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import get as read_bytes
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel

from ..checkpoint.writing import atomic_path
from ..checks import check_count, check_fraction
from ..registry import HOOKS
from ..sites.probe import evaluating
from ..teacher.class_names import classes_of_meta
from .batch_stream import counts_iterations
from .running_teacher import in_students_classes, model_of, running_teacher

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..report.side_by_side import ClassifiedImage, DetectionRow, Found

# What draws is imported where it draws: losses and this package's hooks work without it.
FOLDER = 'pictures'
#: Images of a detector and of a classifier, where the config names no number.
IMAGES = dict(detector=4, classifier=16)
#: How many images are looked through for one with an object, from each place in the data on.
LOOKED_THROUGH = 200


@HOOKS.register_module()
class PicturesHook(Hook):
    """Writes ``pictures/epoch_N.jpg``: annotation, teacher and student side by side.

    The images are a few of the validation data, the same each time, taken at equal distances.
    Objects that the teacher misses or takes for another class and that the student gets right have
    an orange frame, the reverse a violet one. Of detections that lie on one another the surest is
    a model's answer; it is right with an IoU of 0.5 with an object of its class. A classifier's
    picture is a grid with the class of each image and what both take it for.
    ``tools/train.py --pictures`` adds the hook.

    A training that counts iterations gets ``iter_N.jpg`` at its validations. Where the model's
    weights are averaged (EMA), the student is the average, as in validation. The random generators
    and the model's mode are afterwards what they were; what fails is one warning, and the training
    goes on. Without a teacher that runs, with other classes, or with a model that is split over
    processes, nothing is drawn and one line says so.

    Args:
        interval (int): Epochs from picture to picture, or validations where iterations are
            counted; the last one always has a picture. Defaults to 1.
        count (int, optional): How many images. Defaults to 4 of a detector, 16 of a classifier.
        score (float): Least score of a detection that is drawn. Defaults to 0.3.

    Raises:
        ConfigError: A value is out of its range.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.PicturesHook', interval=2, count=6))
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1, count: int | None = None, score: float = 0.3) -> None:
        check_count(interval=interval, **({} if count is None else {'count': count}))
        check_fraction(score=score)
        self.interval, self.count, self.score = interval, count, score
        self._is_off = False
        self._has_warned = False
        self._validations = 0
        self._images: list[tuple[int, Any]] | None = None

    def before_train(self, runner: Runner) -> None:
        """Say where there will be no picture."""
        teacher, reason = running_teacher(runner)
        reason = f'the teacher: {reason}' if teacher is None else _not_whole(runner.model)
        self._is_off = bool(reason)
        if reason:
            runner.logger.info('no pictures are drawn, because of %s', reason)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw, every ``interval`` epochs and after the last one."""
        if counts_iterations(runner):
            return
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._write(runner, 'epoch', runner.epoch + 1)

    def after_val(self, runner: Runner) -> None:
        """The same, where there are no epochs."""
        if isinstance(runner._train_loop, dict) or not counts_iterations(runner):
            return
        self._validations += 1
        if self._validations % self.interval == 0 or runner.iter >= runner.max_iters:
            self._write(runner, 'iter', runner.iter)

    def _write(self, runner: Runner, unit: str, number: int) -> None:
        if self._is_off or not is_main_process():
            return
        try:
            sheet, counts = self._draw(runner, f'{unit} {number}')
            file = Path(runner.work_dir, FOLDER, f'{unit}_{number}.jpg')
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(file) as part:
                sheet.save(part, 'JPEG', quality=88)
            runner.logger.info(
                'picture: %s (of %d, %d only the student gets right, %d only the teacher)',
                *(file, counts['objects'], counts['beyond'], counts['lost']),
            )
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                reason = ' '.join(str(error).split())[:300]
                runner.logger.warning(
                    'no picture could be drawn, the training goes on: %s: %s',
                    *(type(error).__name__, reason),
                )

    def _draw(self, runner: Runner, title: str) -> tuple[Image, dict[str, int]]:
        from ..report.side_by_side import classification_sheet, detection_sheet

        student = _student(runner)
        teacher, _ = running_teacher(runner)
        dataset = runner.val_loop.dataloader.dataset
        names = classes_of_meta(getattr(dataset, 'metainfo', None)) or ()
        with evaluating(student):
            if self._images is None:
                self._images = self._take(runner, _is_detector(student))
            answers = [_answers(student, teacher, batch) for _, batch in self._images]
        if not _is_detector(student):
            cells = [
                _classified(runner, batch, *pair)
                for (_, batch), pair in zip(self._images, answers, strict=True)
            ]
            return classification_sheet(cells, names, title)
        decoding = _decoding(runner)
        rows = [
            _detection_row(dataset.get_data_info(index), *pair, self.score, decoding)
            for (index, _), pair in zip(self._images, answers, strict=True)
        ]
        return detection_sheet(rows, names, title)

    def _take(self, runner: Runner, detector: bool) -> list[tuple[int, Any]]:
        """The images, as the data loader would give them one by one."""
        loader = runner.val_loop.dataloader
        count = self.count or IMAGES['detector' if detector else 'classifier']
        size = len(loader.dataset)
        starts = [place * size // count for place in range(min(count, size))]
        found = []
        for start, end in zip(starts, [*starts[1:], size], strict=True):
            for index in range(start, min(end, start + LOOKED_THROUGH)):
                if not detector or _objects(loader.dataset.get_data_info(index)):
                    found.append((index, loader.collate_fn([loader.dataset[index]])))
                    break
        if not found:
            raise ValueError('no image of the validation data has an object')
        return found


def _not_whole(model: Any) -> str:
    """What keeps one process alone from running a model; nothing if it can."""
    if is_model_wrapper(model) and not isinstance(model, DistributedDataParallel):
        return f'the model: {type(model).__name__} has it in parts on all processes'
    return ''


def _student(runner: Runner) -> Any:
    """The model that validation sees: the average of the weights, where there is one."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module
    return model_of(runner)


def _is_detector(model: Any) -> bool:
    return hasattr(model, 'bbox_head') or hasattr(model, 'roi_head')


def _answers(student: Any, teacher: Any, batch: Any) -> tuple[Any, Any]:
    """What both say of a batch of one image; the data samples are changed on the way."""
    device = next(student.parameters()).device.type
    own = student.val_step(copy.deepcopy(batch))[0].cpu()
    with teacher.at_work(device):
        samples = teacher.model.val_step(copy.deepcopy(batch))
    return in_students_classes(teacher, samples)[0].cpu(), own


def _objects(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that count, of what a data set of MMDetection says of an image."""
    return [item for item in info.get('instances') or () if not item.get('ignore_flag')]


def _decoding(runner: Runner) -> dict[str, str]:
    """How the validation data are decoded; of several data sets the first one counts."""
    from ..preflight.data import innermost
    from ..preflight.images import decoding_options

    described = runner.cfg.get('val_dataloader') or {}
    parts = innermost(described.get('dataset'), 'val_dataloader')
    return decoding_options(next((part.get('pipeline') or () for part, _ in parts), ()))


def _detection_row(
    info: dict[str, Any], teacher: Any, student: Any, score: float, decoding: dict[str, str]
) -> DetectionRow:
    from ..report.pixels import decoded_image
    from ..report.side_by_side import DetectionRow

    # From the file, and annotations as the data set has them: detections are in its pixels.
    image = decoded_image(read_bytes(info['img_path']), **decoding)
    boxes = lambda items: torch.tensor([item['bbox'] for item in items]).float().view(-1, 4)
    objects = _objects(info)
    ignored = [item for item in info['instances'] if item.get('ignore_flag')]
    labels = torch.tensor([int(item['bbox_label']) for item in objects])
    its, own = (_found(sample.pred_instances, score) for sample in (teacher, student))
    return DetectionRow(image, boxes(objects), labels, its, own, boxes(ignored))


def _found(instances: Any, score: float) -> Found:
    from ..report.side_by_side import Found, surest_at_each_place

    sure = instances.scores >= score
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
    found = Found(boxes[sure].float(), instances.labels[sure], instances.scores[sure].float())
    return surest_at_each_place(found)


def _classified(runner: Runner, batch: Any, teacher: Any, student: Any) -> ClassifiedImage:
    from ..report.pixels import image_of_input
    from ..report.rows import blue_first
    from ..report.side_by_side import ClassifiedImage

    turned = blue_first(runner.cfg, model_of(runner), 'val_dataloader')
    image = image_of_input(batch['inputs'][0], turned)
    chosen = [
        (int(sample.pred_label), float(sample.pred_score.max())) for sample in (teacher, student)
    ]
    return ClassifiedImage(image, int(student.gt_label), *chosen)
