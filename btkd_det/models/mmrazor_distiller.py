"""Our sites inside MMRazor: one distiller in place of recorders, connectors and mappings."""

import contextlib
from collections.abc import Iterator
from typing import Any

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder
from mmrazor.registry import TASK_UTILS
from torch import Tensor

from ..checkpoint import weights_only
from ..compat import mmrazor  # noqa: F401
from ..config.reading import read_config
from ..errors import ConfigError
from ..hints import Model
from ..registry import MODELS
from ..sites.base import Step
from ..sites.maps import MapRecord, MapRecorder
from ..sites.placing import sites_of, warn_if_nothing_is_distilled
from ..sites.probe import evaluating
from ..sites.rois import RoIRecorder, record_rois
from ..teacher import Teacher
from .distilled import Sites, site_losses

# The names of the recorders that the distiller adds to the user's own.
ROIS, MAPS = 'btkd_det.rois', 'btkd_det.maps'


@MODELS.register_module(name='ModelOfConfig')
def model_of_config(config: str) -> Model:
    """Build the model of a config file: what MMRazor's ``cfg_path`` does for a package's alone.

    In MMRazor's ``architecture`` or ``teacher``:
    ``dict(type='btkd_det.ModelOfConfig', config='my_teacher.py')``.

    Args:
        config (str): A file, or a config of an installed package (``'btkd_det::...'``).

    Returns:
        nn.Module: The model, built in the config's own scope.

    Raises:
        ConfigError: The config cannot be read.
    """
    cfg = read_config(config, 'ModelOfConfig.config')
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    scope = MMENGINE_MODELS.switch_scope_and_registry(cfg.get('default_scope'))
    with weights_only(), scope as registry:
        return registry.build(cfg.model)


@contextlib.contextmanager
def _in_distiller() -> Iterator[None]:
    """Within this context, an error about ``distill`` says that it is the distiller's."""
    try:
        yield
    except ConfigError as error:
        if not str(error).startswith('distill'):
            raise
        raise ConfigError(f'distiller.{error}') from error


@TASK_UTILS.register_module()
class RoIsRecorder(BaseRecorder):
    """Records what the box heads of a two-stage detector see and say.

    In a distiller's ``student_recorders``: ``rois=dict(type='RoIs', source='roi_head')``. Each
    stage of a cascade gives one record, a :class:`btkd_det.sites.rois.RoIRecord`.

    Args:
        source (str): The attribute of the model that is its RoI head.
    """

    def prepare_from_model(self, model: Model | None = None) -> None:
        """Find the RoI head.

        Args:
            model (nn.Module): The detector.

        Raises:
            ConfigError: It has none.
        """
        self._roi_head = getattr(model, self.source, None)
        if self._roi_head is None:
            raise ConfigError(
                f'student_recorders: {type(model).__name__} has no {self.source}; valid is a '
                'two-stage detector, such as Faster R-CNN'
            )

    def __enter__(self) -> None:
        super().__enter__()
        self._recording = record_rois(self._roi_head)
        self._data_buffer = self._recording.__enter__().records

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: Any
    ) -> None:
        # Not kept: an averaged model is a copy of this one, and a generator cannot be copied.
        recording, self._recording = self._recording, None
        recording.__exit__(exc_type, exc_value, traceback)


@MODELS.register_module()
class BTKDDistiller(ConfigurableDistiller):
    """MMRazor's distiller for two-stage detectors, with one set of RoIs for both heads.

    Stands where ``ConfigurableDistiller`` does, in ``FpnTeacherDistill`` or
    ``SingleTeacherDistill``, and takes the sites as
    :class:`~btkd_det.models.DistilledTwoStageDetector` does. MMRazor lets the student and the
    teacher each propose and sample, so that rows of their RoI logits stand for different boxes.
    Here the teacher's RoI head looks at the student's RoIs, once the student has sampled them.
    With ``FpnTeacherDistill`` the teacher runs nothing else but its backbone and neck.

    Args:
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options. Sites: ``roi_logits``, ``roi_features``, ``roi_boxes`` and ``fpn``.
        student_recorders (dict, optional): Further ones, with their ``loss_forward_mappings``,
            as ``ConfigurableDistiller`` takes them.
        teacher_recorders (dict, optional): Likewise.
        **kwargs: As ``ConfigurableDistiller``.

    Raises:
        ConfigError: An unknown site or loss, a loss that cannot stand there, a gate at ``fpn``,
            or a teacher that is trained, has no RoI head or tells other classes apart.
    """

    def __init__(
        self,
        distill: dict[str, Any] | None = None,
        student_recorders: dict[str, Any] | None = None,
        teacher_recorders: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        maps = dict(type='mmrazor.ModuleOutputs', source='neck')
        rois = dict(type='mmrazor.RoIs', source='roi_head')
        super().__init__(
            student_recorders={**(student_recorders or {}), MAPS: maps, ROIS: rois},
            teacher_recorders={**(teacher_recorders or {}), MAPS: maps},
            **kwargs,
        )
        with _in_distiller():
            self.distill = Sites(distill, sites_of((RoIRecorder, MapRecorder)))
        # Beside the modules: both are the algorithm's own already.
        object.__setattr__(self, '_student', None)
        object.__setattr__(self, '_teacher', None)

    def prepare_from_student(self, model: Model) -> None:
        """See the student, before the teacher.

        Args:
            model (nn.Module): A two-stage detector.
        """
        super().prepare_from_student(model)
        object.__setattr__(self, '_student', model)

    def prepare_from_teacher(self, model: Model) -> None:
        """See the teacher, hold both against each other and make the adapters.

        Args:
            model (nn.Module): A frozen detector.
        """
        super().prepare_from_teacher(model)
        if any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(
                'teacher_trainable: True; BTKDDistiller learns from a frozen teacher; valid: False'
            )
        object.__setattr__(self, '_teacher', Teacher(model))
        gates = [loss.gate for loss in self.distill.at('fpn')]
        if any(gates):
            raise ConfigError(
                f'distiller.distill.fpn.gate: {next(filter(None, gates))!r}; MMRazor does not '
                'show its distillers the annotations that a gate needs; valid: None, or '
                'btkd_det.DistilledTwoStageDetector in place of MMRazor'
            )
        if not self.distill_losses:
            warn_if_nothing_is_distilled(self.distill, sites_of((RoIRecorder, MapRecorder)))
        with _in_distiller(), evaluating(self._student):
            for site in self.distill.values():
                site.check(self._student, self._teacher)
            for site in self.distill.values():
                site.fit(self._student, self._teacher)

    def compute_distill_losses(self) -> dict[str, Tensor]:
        """The losses of the mappings, then those of the sites.

        Returns:
            dict[str, Tensor]: ``<site>.<entry>``, to which MMRazor adds ``distill.``: the log
            then reads as that of our own models.
        """
        sites, inactive_losses = self.distill.active_sites()
        entries = {}
        if sites:
            features = self.teacher_recorders.get_recorder(MAPS).get_record_data()
            # MMRazor shows its distillers no images; the maps lie where they lay.
            step = Step(self._teacher, features[0], (), features)
            recorders = self._recorders(sites)
            for recorder in recorders:
                recorder.finish(step.samples)
            entries = site_losses(sites, recorders, step)
        entries |= inactive_losses
        entries = {name.removeprefix('distill.'): value for name, value in entries.items()}
        return {**super().compute_distill_losses(), **entries}

    def _recorders(self, sites: Any) -> list[Any]:
        """What MMRazor's recorders noted, as the sites read it."""
        rois, maps = RoIRecorder(self._student), MapRecorder(self._student)
        rois.records = self.student_recorders.get_recorder(ROIS).data_buffer
        student_maps = self.student_recorders.get_recorder(MAPS).get_record_data()
        maps.records = [MapRecord(student_maps)]
        return [part for part in (rois, maps) if any(s.recorder is type(part) for s in sites)]
