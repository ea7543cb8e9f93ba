"""What every distilled model has beside its host's class: a teacher, and sites to loop over."""

import contextlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..checks import suggest
from ..errors import ConfigError
from ..hints import Model
from ..losses.divergences import HALF
from ..progress import StepCount, forget_logged
from ..sites.base import Recorder, Site, Step
from ..sites.placing import check_options, check_place, sites_of, warn_if_nothing_is_distilled
from ..sites.probe import evaluating, undisturbed_rng
from ..teacher.class_names import check_distilled, classes_of_run, listed
from ..teacher.frozen import build_teacher
from ..teacher.inheritance import inherit


class Sites(nn.ModuleDict):
    """The sites of a distilled model, by name.

    Args:
        cfg (dict[str, dict | list[dict]] | None): Site name to what :class:`Site` takes.
        valid (dict[str, type]): The sites that the model can have; see
            :func:`~btkd_det.sites.placing.sites_of`.

    Raises:
        ConfigError: An unknown site, or a loss that cannot stand there.
    """

    def __init__(
        self, cfg: dict[str, dict[str, Any] | list[dict[str, Any]]] | None, valid: dict[str, type]
    ) -> None:
        super().__init__()
        if cfg is None:
            cfg = {}
        if not isinstance(cfg, dict):
            raise ConfigError(f'distill: expected dict(site=loss, ...), got {cfg!r}')
        for name, losses in cfg.items():
            if name == '_scope_':
                continue
            if name not in valid:
                raise ConfigError(
                    f'distill: unknown site {name!r}{suggest(name, valid)}; valid sites: '
                    f'{", ".join(valid)}'
                )
            try:
                self[name] = valid[name](name, losses)
            except ConfigError as error:
                if 'is not a registered' in str(error):
                    check_place(losses, name, valid)
                check_options(losses, name, valid, error)
                raise
        # The order of the config is that of the parameters in a checkpoint's optimizer.
        self._ordered = [name for name in valid if name in self]
        self._steps = StepCount()

    def _apply(self, fn: Any, recurse: bool = True) -> 'Sites':
        """As a module's, but for half precision: counts and small layers stay in float32."""

        def kept(tensor: Tensor) -> Tensor:
            found = fn(tensor)
            return found if found.dtype not in HALF else tensor.to(found.device)

        return super()._apply(kept, recurse)

    def at(self, name: str) -> Any:
        """The losses of a site, none where it is not there."""
        return self[name] if name in self else ()  # noqa: SIM401 (no get in torch 2.4)

    def active_sites(self) -> tuple[list[Site], dict[str, Tensor]]:
        """The sites that compute losses in the step that begins, and what the others cost.

        Those are silent from their ``stop_at`` on, when their last values leave the log, and
        skipped where their ``every`` leaves the step out. Their gradients stay defined.

        Returns:
            tuple[list[Site], dict[str, Tensor]]: The sites; and a loss of exactly 0 for each
            other that learns something, so that distributed training misses no parameter.
        """
        ordered: list[Any] = [self[name] for name in self._ordered]
        # Where nothing has to ask how far training is, nothing does.
        active = [site for site in ordered if site.stop_at == 1 or site.active]
        silent = [site for site in ordered if site not in active]
        if any(site.every > 1 for site in active):
            step = self._steps.next()
            active = [site for site in active if step % site.every == 0]
        losses: dict[str, Any] = {}
        for name, site in self.items():
            if site in active:
                continue
            kept = f'distill.{name}.loss_{"silent" if site in silent else "skipped"}'
            if site in silent:
                forget_logged(f'distill.{name}.', kept=kept)
            parameters = list(site.parameters())
            if parameters:
                losses[kept] = sum(p.sum() for p in parameters) * 0
        return active, losses


class Distilled:
    """Mixin that adds the keys ``teacher`` and ``distill`` to a host's model class.

    The student stays itself: its ``state_dict`` has the host's keys, and what distillation
    learns or counts lies under the one prefix ``distill.``. The teacher is no submodule, so it
    is in no ``parameters()``, ``state_dict()``, DDP wrapping or EMA average; it follows every
    ``to``, ``cuda`` and ``half``. A deep copy shares it until it goes to another device or
    precision. Building it draws no random number from the student's generators: the student starts
    as the plain model does under the same seed.

    A subclass says by :attr:`recorders` which kinds of heads it has, and thereby its sites.

    Args:
        *args, **kwargs: The host's.
        teacher (dict | Teacher, optional): ``dict(config=..., checkpoint=..., ...)``, the
            arguments of :class:`Teacher`.
        distill (dict, optional): Site name to a loss or a list of losses. Empty: the plain
            model, and the teacher, if there is one, never runs.

    Raises:
        ConfigError: A wrong key, site or loss, or sites without a teacher.
    """

    #: The kinds of heads, in the order in which their losses are computed; see
    #: :class:`btkd_det.sites.base.Recorder`.
    recorders = ()
    _first_loss = True
    _teacher_of: int | None = None

    def __init__(
        self, *args: Any, teacher: Any = None, distill: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        with undisturbed_rng():
            self.distill = Sites(distill, sites_of(self.recorders))
            teacher = None if teacher is None else self.build_teacher(teacher)
        if self.distill and teacher is None:
            raise ConfigError(
                f'teacher: missing, but distill has the sites {", ".join(self.distill)}; valid: '
                'teacher=dict(config=..., checkpoint=...)'
            )
        # Not through nn.Module's own __setattr__, which would make it a submodule.
        object.__setattr__(self, 'teacher', teacher)
        self._teacher_of = id(self)
        if teacher is not None:
            teacher.follow(self.data_preprocessor)
            self._follow_teacher()
        if self.distill:
            with evaluating(self):
                for site in self.distill.values():
                    site.check(self, teacher)
                for site in self.distill.values():
                    site.fit(self, teacher)

    def _follow_teacher(self) -> None:
        """Let the losses that hold answers of a teacher see whether it is this one."""
        for name, site in self.distill.items():
            for loss in site:
                if hasattr(loss, 'follow_teacher'):
                    try:
                        loss.follow_teacher(self.teacher)
                    except ConfigError as error:
                        raise ConfigError(f'distill.{name}.{error}') from error

    def build_teacher(self, teacher: Any) -> Model:
        """The teacher as the config describes it.

        Args:
            teacher (dict | Teacher): As the model was given it.

        Returns:
            nn.Module: The teacher.

        Raises:
            ConfigError: It is neither, or a key is unknown or missing.
        """
        return build_teacher(teacher)

    def init_weights(self) -> None:
        """As the host's; then, if the teacher is to give its weights, take those that fit."""
        super().init_weights()
        if self.teacher is not None and self.teacher.init_student == 'teacher':
            inherit(self, self.teacher.model, self.teacher.class_map)

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The plain model's losses, and the distillation's beside them.

        Args:
            inputs (Tensor): (N, 3, H, W).
            data_samples (list): The annotations.

        Returns:
            dict[str, Tensor]: The plain model's entries first, unchanged, then
            ``distill.<site>.<entry>``.

        Raises:
            ConfigError: At the first call, the teacher's classes are not those of the runner's
                training data; or the student does not show what a site needs.
        """
        if self._first_loss:
            self._check_first_loss()
        sites, inactive_losses = self.distill.active_sites()
        if not sites:
            return {**self.host_loss(inputs, data_samples), **inactive_losses}
        read = tuple([site.recorder for site in sites])
        recorders = [kind(self) for kind in self.recorders if issubclass(kind, read)]
        with contextlib.ExitStack() as stack:
            for recorder in recorders:
                stack.enter_context(recorder)
            losses = self.host_loss(inputs, data_samples)
            for recorder in recorders:
                recorder.finish(data_samples)
            step = Step(self.teacher, inputs, data_samples)
            return {**losses, **site_losses(sites, recorders, step), **inactive_losses}

    def host_loss(self, inputs: Any, data_samples: Sequence[Any]) -> Any:
        """The plain model's losses."""
        return super().loss(inputs, data_samples)

    def _check_first_loss(self) -> None:
        """Ask whose classes the teacher knows, and say so where nothing is distilled.

        Not when the model is built: only the runner knows the data, and a model that is built may
        be one to evaluate.
        """
        classes = classes_of_run() if self.distill else None
        if classes:
            check_distilled(self, classes)
        warn_if_nothing_is_distilled(self.distill, sites_of(self.recorders))
        self._first_loss = False

    def check_class_means(self, classes: Sequence[str]) -> None:
        """Hold the class means that a loss read from a file against the data's classes.

        Args:
            classes (Sequence[str]): Of the data.

        Raises:
            ConfigError: The means are of other classes, or of these in another order.
        """
        for name, site in self.distill.items():
            for loss in site:
                names = getattr(loss, 'class_names', None)
                mapped = self.teacher.class_map is not None
                if names and not mapped and tuple(names) != tuple(classes):
                    raise ConfigError(
                        f'distill.{name}.class_means: has the classes {listed(names)}, but the '
                        f'data set has {listed(classes)}; valid is a file of these classes in this '
                        'order, or a teacher.class_map'
                    )

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> 'Distilled':
        super()._apply(fn, *args, **kwargs)
        teacher = self.__dict__.get('teacher')
        if teacher is None:
            return self
        if self._teacher_of != id(self) and teacher.would_change(fn):
            # A copy, which shares the teacher of a model that stays where it is.
            object.__setattr__(self, 'teacher', teacher.separate())
            self._teacher_of = id(self)
        if self._teacher_of == id(self):
            self.teacher._apply(fn, *args, **kwargs)
        return self


def site_losses(sites: list[Site], recorders: list[Recorder], step: Step) -> dict[str, Tensor]:
    """The losses of all sites, from what was recorded of the student's forward.

    Args:
        sites (list[Site]): Those that are active.
        recorders (list[Recorder]): With complete records.
        step (Step): The iteration.

    Returns:
        dict[str, Tensor]: See :meth:`btkd_det.sites.base.Site.evaluate`.
    """
    reads_features = any(recorder.reads_features for recorder in recorders)
    found = []
    with step.teacher.at_work(step.inputs.device.type):
        if step.features is None and reads_features:
            step.features = step.teacher.features(step.inputs, step.samples)
        for recorder in recorders:
            for record in recorder.records:
                readers = []
                for site in sites:
                    if isinstance(recorder, site.recorder) and (
                        not site.last_stage or record.stage in (None, record.stages - 1)
                    ):
                        readers.append(site)
                if readers:
                    found.append((record, recorder.teacher_outputs(record, step), readers))
    losses = {}
    for record, teacher_outputs, readers in found:
        for site in readers:
            losses.update(site.evaluate(record, teacher_outputs))
    return losses
