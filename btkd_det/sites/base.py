"""What every site is: losses, the record that they read, and what they are given of it.

A site is one class in one file. Its ``recorder`` says which kind of head it reads; it stands in
every distilled model that has this recorder::

    from btkd_det.registry import SITES
    from btkd_det.sites import Site
    from btkd_det.sites.rois import RoIRecorder


    @SITES.register_module(name='roi_scores')
    class RoIScores(Site):
        family = 'LogitLoss'
        recorder = RoIRecorder

        def inputs(self, record, teacher_outputs):
            return record.logits, teacher_outputs.logits, record.labels
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..checks import check_known_keys, check_number, check_whole
from ..errors import ConfigError
from ..hints import Model
from ..progress import known_progress
from ..registry import MODELS, build
from .probe import probed


@dataclass
class Step:
    """One iteration, as far as the teacher needs to know it.

    Attributes:
        teacher (Teacher | CachedTeacher): The teacher.
        inputs (Tensor): (N, 3, H, W), normalized by the student's preprocessor.
        samples (Sequence): The annotations, one entry for each image.
        features (Sequence[Tensor] | None): What a teaching detector's ``extract_feat`` gave.
    """

    teacher: Model
    inputs: Tensor
    samples: Sequence
    features: Any = None


class Recorder:
    """One kind of head: what of the student's forward the sites read, and the teacher's part.

    A context: within it the student computes its own losses, so that :attr:`records` fills, and
    a teaching detector then runs its ``extract_feat``. It touches these instances alone, and only
    for the time of the context.

    Args:
        student (nn.Module): The distilled model.

    Attributes:
        records (list): A dataclass for each time that the head ran: one for each stage of a
            cascade.
        reads_features (bool): Whether :meth:`teacher_outputs` begins with what the teacher's
            ``extract_feat`` gave.
    """

    reads_features = True

    def __init__(self, student: Model) -> None:
        self.student = student
        self.records: list[Any] = []

    def __enter__(self) -> 'Recorder':
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def finish(self, samples: Sequence) -> None:
        """Complete the records, once the student's losses are computed.

        Args:
            samples (Sequence): The annotations.

        Raises:
            ConfigError: The student does not show what the sites need.
        """

    def teacher_outputs(self, record: Any, step: Step) -> Any:
        """What the teacher's head gives where ``record`` was taken.

        It is called once for each record, without gradients and in the teacher's precision.

        Args:
            record: Of :attr:`records`.
            step (Step): The iteration.

        Returns:
            A dataclass, for :meth:`Site.inputs`.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what the teacher gives')


class Site(nn.ModuleList):
    """The losses at one place of the model.

    A subclass sets the class attributes and :meth:`inputs`; the other methods where it needs them.

    Args:
        name (str): Its name in a config, under which it is registered.
        cfg (dict | list[dict]): A loss, a list of losses, or ``dict(losses=..., stop_at=...)``
            with a loss or a list in it and the :attr:`options` of the site.

    Attributes:
        family (str): Registered base class of the losses that can stand here.
        recorder (type): The :class:`Recorder` that fills what it reads.
        options (tuple[str]): The keys beside ``losses``.
        compares_classes (bool): Whether teacher and student need the same classes.
        common_inputs (tuple[str]): The extras that every loss of the family takes.
        stop_at (float): The share of training after which the site is not active any more.
        every (int): The site is active in one iteration of so many, the first of them, where its
            losses weigh so many times as much (ours): the teacher's time shrinks to that share.
        last_stage (bool): Whether of a cascade the losses see the last stage alone.

    Raises:
        ConfigError: A loss does not build, or an option is unknown or out of range.
    """

    family: str | None = None
    recorder: type[Recorder] | None = None
    options: tuple[str, ...] = ('stop_at', 'every')
    stop_at: float = 1.0
    every: int = 1
    compares_classes = False
    common_inputs: tuple[str, ...] = ()
    last_stage = False

    def __init__(self, name: str, cfg: dict[str, Any] | list[dict[str, Any]]) -> None:
        super().__init__()
        self.name = name
        where = of_losses = f'distill.{name}'
        options = {}
        if isinstance(cfg, dict) and 'type' not in cfg and 'losses' in cfg:
            options = {key: value for key, value in cfg.items() if key != '_scope_'}
            cfg = options.pop('losses')
            of_losses = f'{where}.losses'
        check_known_keys(where, options, ('losses', *self.options))
        self.set_options(where, **options)
        several = isinstance(cfg, (list, tuple))
        family = MODELS.get(f'btkd_det.{self.family}')
        losses: Any = cfg if several else [cfg]
        for i, loss in enumerate(losses):
            built = build(loss, f'{of_losses}[{i}]' if several else of_losses, family)
            if hasattr(built, 'collects_every'):
                built.collects_every = self.every
            self.append(built)
        self._labels = log_labels(self)

    def set_options(self, where: str, *, stop_at: float = 1.0, every: int = 1) -> None:
        """Take the options of the config; a subclass that has more adds them.

        Args:
            where (str): Where they stand in the config.
            stop_at (float), every (int): See the class.
        """
        check_number(f'{where}.stop_at', stop_at, above=0, most=1)
        check_whole(f'{where}.every', every, least=1)
        self.stop_at = stop_at
        self.every = every

    def named(self) -> list[tuple[str, Model]]:
        """Each loss with its place in the config, for the errors of :meth:`check`."""
        place = f'distill.{self.name}'
        several = len(self) > 1
        return [(f'{place}[{i}]' if several else place, loss) for i, loss in enumerate(self)]

    @property
    def active(self) -> bool:
        """Whether training is before ``stop_at``; True where nobody tells how far it is."""
        if self.stop_at == 1:
            return True
        progress = known_progress()
        return progress is None or progress < self.stop_at

    def check(self, student: Model, teacher: Model) -> None:
        """Hold student and teacher against each other, when the model is built.

        Args:
            student (nn.Module): The distilled model.
            teacher (Teacher | CachedTeacher): The teacher.

        Raises:
            ConfigError: The site cannot compare them.
        """

    def shapes(self, model: Model, images: Tensor) -> list[tuple[int, ...]]:
        """Shapes of the maps that a model has here; only of sites whose losses ask for them.

        Args:
            model (nn.Module): The student or the teacher's model, in eval mode.
            images (Tensor): (1, 3, H, W), black.

        Returns:
            list[tuple[int, int, int]]: (C, H, W) of each map.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say its shapes')

    def fit(self, student: Model, teacher: Model) -> None:
        """Give the losses that have to know them the shapes that they will see.

        Args:
            student (nn.Module): The distilled model, in eval mode.
            teacher (Teacher): The teacher.

        Raises:
            ConfigError: A loss cannot do with them.
        """
        losses: list[Model] = [loss for loss in self if hasattr(loss, 'fit')]
        if not losses:
            return
        models = {'model': student, 'teacher.config': teacher.model}
        shapes, _ = probed(models, self.shapes)
        for loss in losses:
            try:
                loss.fit(*shapes)
            except ConfigError as error:
                raise ConfigError(f'distill.{self.name}.{error}') from error

    def inputs(self, record: Any, teacher_outputs: Any) -> tuple:
        """What every loss here is called with.

        Args:
            record: What was recorded of the student's forward.
            teacher_outputs: What the recorder's ``teacher_outputs`` gave for it.

        Returns:
            tuple: Positional arguments.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what its losses see')

    def extras(self, record: Any, teacher_outputs: Any, loss: Model) -> dict[str, Any]:
        """What the site knows beside the inputs; a loss gets those that it declares.

        Args:
            record, teacher_outputs: See :meth:`inputs`.
            loss (nn.Module): Of this site.

        Returns:
            dict: Keyword arguments.
        """
        return {}

    def evaluate(self, record: Any, teacher_outputs: Any) -> dict[str, Tensor]:
        """Call each loss; where the site is not active in every iteration, make up for it.

        Args:
            record, teacher_outputs: See :meth:`inputs`.

        Returns:
            dict[str, Tensor]: ``distill.<site>.loss_<loss>`` for each loss, and
            ``distill.<site>.<entry>`` for what it logs, which MMEngine does not sum. Where a
            record is of a ``stage``, ``s<stage>`` stands after the site.
        """
        entries = {}
        stage = getattr(record, 'stage', None)
        prefix = f'distill.{self.name}.' if stage is None else f'distill.{self.name}.s{stage}.'
        inputs = self.inputs(record, teacher_outputs)
        for loss, (label, number) in zip(self, self._labels, strict=True):
            extras, declared = {}, (*self.common_inputs, *getattr(loss, 'extra_inputs', ()))
            if declared:
                for extra, value in self.extras(record, teacher_outputs, loss).items():
                    if extra in declared:
                        extras[extra] = value
            value = loss(*inputs, **extras)
            value = value if self.every == 1 else value * self.every
            entries[f'{prefix}loss_{label}{number}'] = value
            for entry, value in getattr(loss, 'log_vars', {}).items():
                entries[f'{prefix}{entry}{number}'] = value
        return entries


def log_labels(losses: Iterable[nn.Module]) -> list[tuple[str, str]]:
    """What the log calls losses that stand side by side.

    Args:
        losses (Iterable[nn.Module]): Of one site.

    Returns:
        list[tuple[str, str]]: For each the name of its class, ``'review_kd'`` of ``ReviewKDLoss``,
        and the number that tells it from earlier ones of that name, if any.
    """
    labels, names = [], []
    for loss in losses:
        name = type(loss).__name__.removesuffix('Loss')
        names.append(re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name).lower())
        number = names.count(names[-1])
        labels.append((names[-1], str(number) if number > 1 else ''))
    return labels
