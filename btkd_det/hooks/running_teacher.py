"""The teacher of a run, where it can be asked for predictions."""

from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..teacher.class_map import ClassMap
from ..teacher.class_names import classes_of_run, listed


def model_of(runner: Runner) -> Any:
    """The model of a runner without what distributes it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def running_teacher(runner: Runner) -> tuple[Any, str]:
    """The teacher, or why its predictions cannot be held against the student's data.

    Args:
        runner (Runner): In training.

    Returns:
        tuple[Teacher | None, str]: The teacher and nothing, or ``None`` and the reason.
    """
    teacher = getattr(model_of(runner), 'teacher', None)
    if teacher is None:
        return None, 'there is none'
    if not hasattr(teacher, 'model'):
        return None, 'it does not run, its logits of the training data come from a file'
    if runner.val_loop is None:
        return None, 'there is no validation data'
    classes = classes_of_run()
    mapped = teacher.class_map is not None
    if classes and teacher.classes and not mapped and teacher.classes != classes:
        return None, (
            f'it learned the classes {listed(teacher.classes)}, and the data have {listed(classes)}'
        )
    return teacher, ''


def in_students_classes(teacher: Any, samples: list[Any]) -> list[Any]:
    """Predictions of a teacher, changed in place where it has a ``class_map``.

    Args:
        teacher (Teacher): Whose.
        samples (list): What its ``val_step`` gave.

    Returns:
        list: The same.
    """
    if teacher.class_map is None:
        return samples
    class_map = ClassMap(teacher.class_map)
    return [class_map.prediction(sample) for sample in samples]
