"""How good is the teacher on the student's validation data?"""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ..registry import HOOKS


@HOOKS.register_module()
class TeacherEvaluationHook(Hook):
    """Evaluates the teacher once, before training, by the student's own evaluator.

    A teacher whose classes, colors or scale are not what it was trained on shows here, before an
    epoch is spent. ``tools/train.py`` adds the hook where ``teacher.evaluate_teacher`` is set.
    A teacher with a ``class_map`` predicts its own classes, so it is not evaluated.
    """

    def before_train(self, runner):
        """Run the teacher over the validation data and log its metrics as ``teacher/...``."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        teacher = getattr(model, 'teacher', None)
        loop = runner.val_loop
        if teacher is None or loop is None or teacher.class_map is not None:
            runner.logger.warning('the teacher is not evaluated: %s', _reason(teacher, loop))
            return
        for batch in loop.dataloader:
            outputs = teacher.model.val_step(batch)
            loop.evaluator.process(data_samples=outputs, data_batch=batch)
        metrics = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        runner.logger.info(
            'teacher: %s', '  '.join(f'{key}: {value:.4f}' for key, value in metrics.items())
        )
        for key, value in metrics.items():
            runner.visualizer.add_scalar(f'teacher/{key}', value, step=0)


def _reason(teacher, loop):
    if teacher is None:
        return 'there is none'
    return 'there is no validation data' if loop is None else 'it predicts other classes'
