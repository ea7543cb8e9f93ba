"""The site ``backbone``: the maps that a detector's backbone gives."""

import contextlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..hints import Model
from ..registry import SITES
from .base import Recorder, Step
from .maps import MapOutputs, MapRecord, MapSite, paired
from .outputs import outputs_of


class BackboneRecorder(Recorder):
    """Notes what the backbones of both give."""

    def __enter__(self) -> 'BackboneRecorder':
        self._maps: list[Sequence[Tensor]] = []
        self._teacher_maps: list[Sequence[Tensor]] = []
        self._stack = contextlib.ExitStack()
        teacher = self.student.teacher.model
        self._stack.enter_context(outputs_of(self.student, 'backbone', self._maps))
        self._stack.enter_context(outputs_of(teacher, 'backbone', self._teacher_maps))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def finish(self, samples: Sequence[Any]) -> None:
        """The first maps are those of the images: a backbone may run again on parts of them."""
        self.records.append(MapRecord(self._maps[0]))

    def teacher_outputs(self, record: MapRecord, step: Step) -> MapOutputs:
        """What the teacher's backbone gave."""
        return paired(record, self._teacher_maps[0], step)


@SITES.register_module(name='backbone')
class Backbone(MapSite):
    """Maps of the backbone."""

    recorder = BackboneRecorder

    def shapes(self, model: Model, images: Tensor) -> list[tuple[int, ...]]:
        """(C, H, W) of each map."""
        with outputs_of(model, 'backbone') as maps:
            model.extract_feat(images)
        return [tuple(part.shape[1:]) for part in maps[0]]
