"""MMRazor as a peer: its distillation of the same student by the same teacher."""

import importlib

from mmengine.registry import MODELS, DefaultScope


def unavailable():
    """Why MMRazor cannot be measured here.

    Returns:
        str or None: One line; None where it can.
    """
    try:
        importlib.import_module('btkd_det.compat.mmrazor')
    except ImportError as error:
        return 'not installed' if error.name == 'mmrazor' else str(error)
    return None


def pkd(student, teacher):
    """MMRazor's ``SingleTeacherDistill`` with PKD on the maps that the neck gives.

    MMRazor runs all of the teacher's training step, RPN, assignment and RoI head included, before
    the student's. Thereby the teacher draws from the random numbers first, and the student samples
    as many RoIs as without it, but others.

    Args:
        student (nn.Module): A built detector with a neck; trained in place.
        teacher (nn.Module): Another one, with maps of the same channels. MMRazor changes it: no
            parameter asks for a gradient and no activation works in place.

    Returns:
        nn.Module: Gives the losses of both with ``mode='loss'``.
    """
    importlib.import_module('btkd_det.compat.mmrazor')
    maps = dict(maps=dict(type='ModuleOutputs', source='neck'))
    mapping = dict(
        preds_S=dict(from_student=True, recorder='maps'),
        preds_T=dict(from_student=False, recorder='maps'),
    )
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(
            dict(
                type='SingleTeacherDistill',
                architecture=student,
                teacher=teacher,
                distiller=dict(
                    type='ConfigurableDistiller',
                    student_recorders=maps,
                    teacher_recorders=maps,
                    distill_losses=dict(loss_pkd=dict(type='PKDLoss')),
                    loss_forward_mappings=dict(loss_pkd=mapping),
                ),
            )
        )
