"""The site ``logits``: a classifier's class logits, with the images' labels."""

from torch import Tensor

from ..errors import ConfigError
from ..hints import Model
from ..registry import SITES
from ..teacher.class_map import FEATURES_ALONE, ClassMap
from ..teacher.images import ImageOutputs, run_classifier
from .base import Site
from .images import ImageRecord, ImageRecorder, check_no_boxes
from .probe import probed


@SITES.register_module(name='logits')
class Logits(Site):
    """Class logits of images."""

    family = 'LogitLoss'
    recorder = ImageRecorder
    compares_classes = True

    def check(self, student: Model, teacher: Model) -> None:
        """Both heads need one set of logits of the same classes."""
        from mmpretrain.models.heads import ArcFaceClsHead, MultiLabelClsHead

        if isinstance(student.head, MultiLabelClsHead):
            raise ConfigError(
                f'distill.logits: {type(student.head).__name__} gives an image several labels, '
                'and the losses need one; valid is a head for one label, such as LinearClsHead'
            )
        if isinstance(student.head, ArcFaceClsHead):
            raise ConfigError(
                f'distill.logits: in training {type(student.head).__name__} takes a margin off the '
                "label's logit, and the teacher's has none; valid is a head without, such as "
                'LinearClsHead, or the site features alone'
            )
        check_no_boxes(self.name, self)
        mixing = getattr(student.data_preprocessor, 'batch_augments', None)
        if hasattr(teacher, 'logits_of') and mixing is not None:
            raise ConfigError(
                'teacher.cache: holds what the teacher says of single images, but train_cfg or '
                'data_preprocessor.batch_augments mixes them; valid is a cache without batch '
                'augmentation, or teacher=dict(config=..., checkpoint=...)'
            )
        ours, its = count_classes(student, teacher)
        _check_classes(teacher.class_map, ours, its)
        for loss in self:
            if getattr(loss, 'num_classes', ours) != ours:
                raise ConfigError(
                    f'distill.logits.num_classes: {loss.num_classes} of {type(loss).__name__}, '
                    f'but the student tells {ours} classes apart; valid: {ours}'
                )

    def inputs(self, record: ImageRecord, teacher_outputs: ImageOutputs) -> tuple:
        """Logits of both, and the labels."""
        return record.logits, teacher_outputs.logits, record.labels


def count_classes(student: Model, teacher: Model) -> tuple[int, int]:
    """How many classes the heads of student and teacher tell apart.

    Args:
        student (nn.Module): The student, in eval mode.
        teacher (Teacher | CachedTeacher): The teacher.

    Returns:
        tuple[int, int]: Of the student, and of the teacher in its own classes.

    Raises:
        ConfigError: A head gives no single set of logits, or a model takes no image.
    """
    models = {'model': student}
    if not hasattr(teacher, 'logits_of'):
        models['teacher.config'] = teacher.model
    # Two images: LeNet drops the dimension of a single one.
    run = lambda model, images: run_classifier(model, images, ('logits',)).logits
    found, _ = probed(models, run, count=2)
    for field, logits in zip(models, found, strict=True):
        if not (isinstance(logits, Tensor) and logits.ndim == 2):
            raise ConfigError(
                f'{field}.head: gives no single set of class logits, (N, C), for the site logits; '
                'valid is a head for one label, such as LinearClsHead'
            )
    counts = [logits.shape[1] for logits in found]
    return counts[0], counts[1] if len(counts) > 1 else teacher.num_classes


def _check_classes(class_map: ClassMap | None, ours: int, its: int) -> None:
    if class_map is not None and not all(0 <= index < its for index in class_map):
        raise ConfigError(
            f'teacher.class_map: {list(class_map)!r} does not go with the {its} classes of the '
            f'teacher; valid are numbers from 0 to {its - 1}'
        )
    known = its if class_map is None else len(class_map)
    if known != ours:
        raise ConfigError(
            f'teacher: tells {known} classes apart, but the student {ours}; valid is a '
            "teacher of the student's classes, a teacher.class_map that finds the student's "
            f"among the teacher's, {FEATURES_ALONE}"
        )
