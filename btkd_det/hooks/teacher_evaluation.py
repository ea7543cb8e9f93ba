"""How good is the teacher on the student's validation data?"""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from .running_teacher import in_students_classes, running_teacher


@HOOKS.register_module()
class TeacherEvaluationHook(Hook):
    """Evaluates the teacher once, before training, by the student's own evaluator.

    A teacher whose classes, colors or scale are not what it was trained on shows here, before an
    epoch is spent. ``tools/train.py`` adds the hook where ``teacher.evaluate_teacher`` is set.
    What a teacher with a ``class_map`` predicts is put into the student's classes; what it finds
    of others is left out.

    Examples:
        >>> from btkd_det.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='btkd_det.TeacherEvaluationHook'))
    """

    def before_train(self, runner: Runner) -> None:
        """Run the teacher over the validation data and log its metrics as ``teacher/...``."""
        teacher, reason = running_teacher(runner)
        if teacher is None:
            runner.logger.warning('the teacher is not evaluated: %s', reason)
            return
        loop = runner.val_loop
        for batch in loop.dataloader:
            outputs = in_students_classes(teacher, teacher.model.val_step(batch))
            loop.evaluator.process(data_samples=outputs, data_batch=batch)
        metrics = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        runner.logger.info(
            'teacher: %s', '  '.join(f'{key}: {value:.4f}' for key, value in metrics.items())
        )
        for key, value in metrics.items():
            runner.visualizer.add_scalar(f'teacher/{key}', value, step=0)
