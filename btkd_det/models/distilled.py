"""What every distilled model has beside its host's class: a teacher and sites."""

import contextlib
import random

import numpy as np
import torch
from mmengine.logging import print_log

from ..errors import ConfigError
from .sites import Sites
from .teacher import build_teacher


class Distilled:
    """Mixin that adds the keys ``teacher`` and ``distill`` to a host's model class.

    The student stays itself: its ``state_dict`` has the host's keys, and what distillation
    learns or counts lies under the one prefix ``distill.``. The teacher is no submodule, so it
    is in no ``parameters()``, ``state_dict()``, DDP wrapping or EMA average; it follows every
    ``to``, ``cuda`` and ``half``. Building it draws no random number from the student's
    generators: the student starts as the plain model does under the same seed.

    Args:
        *args, **kwargs: The host's.
        teacher (dict | Teacher, optional): ``dict(config=..., checkpoint=..., ...)``, the
            arguments of :class:`Teacher`.
        distill (dict, optional): Site name to a loss or a list of losses. Empty: the plain
            model, and the teacher, if there is one, never runs.

    Raises:
        ConfigError: A wrong key, site or loss, or sites without a teacher.
    """

    sites = {}

    def __init__(self, *args, teacher=None, distill=None, **kwargs):
        super().__init__(*args, **kwargs)
        with undisturbed_rng():
            self.distill = Sites(distill, self.sites)
            guest = None if teacher is None else self.build_teacher(teacher)
        if self.distill and guest is None:
            raise ConfigError(
                f'teacher: missing, but distill has the sites {", ".join(self.distill)}; valid: '
                'teacher=dict(config=..., checkpoint=...)'
            )
        # Not through nn.Module's own __setattr__, which would make it a submodule.
        object.__setattr__(self, 'teacher', guest)
        if guest is not None:
            guest.follow(self.data_preprocessor)

    def build_teacher(self, teacher):
        """The teacher as the config describes it.

        Args:
            teacher (dict | Teacher): As the model was given it.

        Returns:
            nn.Module: The teacher.

        Raises:
            ConfigError: It is neither, or a key is unknown or missing.
        """
        return build_teacher(teacher)

    def init_weights(self):
        """As the host's; then, if the teacher is to give its weights, take those that fit."""
        super().init_weights()
        if self.teacher is not None and self.teacher.init_student == 'teacher':
            inherit(self, self.teacher.model)

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        if self.__dict__.get('teacher') is not None:
            self.teacher._apply(fn, *args, **kwargs)
        return self


@contextlib.contextmanager
def undisturbed_rng():
    """Within this context drawing random numbers on the CPU leaves no trace outside."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def inherit(student, teacher):
    """Give a student the teacher's weights wherever name and shape agree, but in the backbone.

    Args:
        student (nn.Module): Takes the weights.
        teacher (nn.Module): Gives them.
    """
    given = teacher.state_dict()
    fits, differs = {}, []
    for name, value in student.state_dict().items():
        if name.startswith(('backbone.', 'distill.', 'data_preprocessor.')):
            continue
        if name in given and given[name].shape == value.shape:
            fits[name] = given[name]
        else:
            differs.append(name)
    student.load_state_dict(fits, strict=False)
    print_log(
        f"teacher.init_student: the student starts with the teacher's {', '.join(_parts(fits))}; "
        f'{len(differs)} weights do not fit ({", ".join(_parts(differs)) or "none"})',
        'current',
    )


def _parts(names):
    """The first two components of parameter names, each once: ``neck.fpn_convs``."""
    return sorted({'.'.join(name.split('.')[:2]) for name in names})
