"""What every distilled model has beside its host's class: a teacher and sites."""

import contextlib
import random

import numpy as np
import torch

from ..errors import ConfigError
from .data_classes import check_distilled, classes_of_run, shown
from .inheritance import inherit
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
    _loss_seen = False

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
            self._show_teacher()

    def _show_teacher(self):
        """Let the losses that hold answers of a teacher see whether it is this one."""
        for site in self.distill:
            for loss in self.distill[site]:
                if hasattr(loss, 'follow_teacher'):
                    try:
                        loss.follow_teacher(self.teacher)
                    except ConfigError as error:
                        raise ConfigError(f'distill.{site}.{error}') from error

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
            inherit(self, self.teacher.model, self.teacher.class_map)

    def forward(self, *args, **kwargs):
        """As the host's; the first loss of a training asks whose classes the teacher knows.

        It is also where a line of the log says that nothing is distilled, if that is so: a model
        that is built may be one to evaluate.

        Raises:
            ConfigError: The teacher's classes are not those of the runner's training data.
        """
        if kwargs.get('mode') == 'loss' and not self._loss_seen:
            self._check_data_classes()
            self.distill.warn_if_nothing_is_distilled(self.sites)
            self._loss_seen = True
        return super().forward(*args, **kwargs)

    def check_class_means(self, classes):
        """Hold the class means that a loss read from a file against the data's classes.

        Args:
            classes (Sequence[str]): Of the data.

        Raises:
            ConfigError: The means are of other classes, or of these in another order.
        """
        for site in self.distill:
            for loss in self.distill[site]:
                names = getattr(loss, 'class_names', None)
                mapped = self.teacher.class_map is not None
                if names and not mapped and tuple(names) != tuple(classes):
                    raise ConfigError(
                        f'distill.{site}.class_means: has the classes {shown(names)}, but the data '
                        f'set has {shown(classes)}; valid is a file of these classes in this '
                        'order, or a teacher.class_map'
                    )

    def _check_data_classes(self):
        # Not when the model is built: only the runner knows the data.
        classes = classes_of_run() if self.distill else None
        if classes:
            check_distilled(self, classes)

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
