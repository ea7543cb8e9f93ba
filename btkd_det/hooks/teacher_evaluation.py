"""How good is the teacher on the student's validation data?"""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..registry import HOOKS
from ..teacher.class_map import ClassMap
from ..teacher.class_names import classes_of_run, listed


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
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        teacher = getattr(model, 'teacher', None)
        loop = runner.val_loop
        if teacher is None or loop is None:
            reason = 'there is none' if teacher is None else 'there is no validation data'
            runner.logger.warning('the teacher is not evaluated: %s', reason)
            return
        classes = classes_of_run()
        mapped = teacher.class_map is not None
        if classes and teacher.classes and not mapped and teacher.classes != classes:
            runner.logger.warning(
                'the teacher is not evaluated: it learned the classes %s, and the data have %s',
                listed(teacher.classes),
                listed(classes),
            )
            return
        class_map = ClassMap(teacher.class_map) if mapped else None
        for batch in loop.dataloader:
            outputs = teacher.model.val_step(batch)
            if mapped:
                outputs = [class_map.prediction(sample) for sample in outputs]
            loop.evaluator.process(data_samples=outputs, data_batch=batch)
        metrics = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        runner.logger.info(
            'teacher: %s', '  '.join(f'{key}: {value:.4f}' for key, value in metrics.items())
        )
        for key, value in metrics.items():
            runner.visualizer.add_scalar(f'teacher/{key}', value, step=0)
