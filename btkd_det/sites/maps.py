"""Feature maps: what a module of a detector gives, and which part of it counts."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..hints import Model
from .base import Recorder, Site, Step
from .focal import focal_masks
from .gate import Objects, annotated_objects, map_gate


@dataclass
class MapRecord:
    """The student's maps.

    Attributes:
        maps (Sequence[Tensor] | Tensor): (N, C, H, W) each.
    """

    maps: Sequence[Tensor]


@dataclass
class MapOutputs:
    """The teacher's maps at the same place.

    Attributes:
        maps (Sequence[Tensor]): (N, C', H', W') each.
        step (Step): The iteration, for the objects of a gate.
        branches (int): How many maps of each image the student has for one of the teacher's.
    """

    maps: Sequence[Tensor]
    step: Step
    branches: int = 1

    def gate(self, kind: str, background_weight: float) -> list[Tensor]:
        """The weight of each position; see :func:`~btkd_det.sites.gate.map_gate`."""
        return map_gate(*self._geometry(kind), kind, background_weight)

    def focal(self, kind: str | None) -> list[Tensor]:
        """Foreground and background; see :func:`~btkd_det.sites.focal.focal_masks`."""
        return focal_masks(*self._geometry(kind), kind)

    def _geometry(
        self, kind: str | None
    ) -> tuple[list[Objects], list[tuple[int, int]], tuple[int, int]]:
        """The objects of each of the student's images, the maps' sizes and the input's."""
        objects = self.judged if kind == 'teacher_right' else self.annotated
        sizes = [(part.shape[2], part.shape[3]) for part in self.maps]
        padded = self.step.inputs.shape[2], self.step.inputs.shape[3]
        return [*objects] * self.branches, sizes, padded

    @functools.cached_property
    def annotated(self) -> list[Objects]:
        """The annotated objects of the batch."""
        return annotated_objects(self.step.samples)

    @functools.cached_property
    def judged(self) -> list[Objects]:
        """The same, judged by the teacher's box head: once, however many losses ask."""
        from .judged_objects import judged_objects

        with self.step.teacher.at_work(self.step.inputs.device.type):
            return judged_objects(self.step)


class MapRecorder(Recorder):
    """Notes what the student's ``extract_feat`` gives."""

    def __enter__(self) -> 'MapRecorder':
        original = self.student.extract_feat
        # Somebody may have put a compiled one there.
        self._own = vars(self.student).get('extract_feat')

        def extract_feat(*args: Any, **kwargs: Any) -> Sequence[Tensor]:
            maps = original(*args, **kwargs)
            if not self.records:
                self.records.append(MapRecord(maps))
            return maps

        self.student.extract_feat = extract_feat
        return self

    def __exit__(self, *error: object) -> None:
        if self._own is None:
            del self.student.extract_feat
        else:
            self.student.extract_feat = self._own

    def teacher_outputs(self, record: MapRecord, step: Step) -> MapOutputs:
        """What the teacher's ``extract_feat`` gives."""
        return paired(record, step.features, step)


class MapSite(Site):
    """A site at feature maps."""

    family = 'FeatureLoss'

    def check(self, student: Model, teacher: Model) -> None:
        """A gate that asks for the teacher's judgement needs a box head."""
        if any(getattr(loss, 'gate', None) == 'teacher_right' for loss in self):
            self.check_judge(student, teacher)

    def check_judge(self, student: Model, teacher: Model) -> None:
        """Raise a ConfigError: nobody judges here."""
        raise ConfigError(
            f"distill.{self.name}.gate: 'teacher_right', but {type(student).__name__} has no "
            "box head to judge with; valid: None, 'foreground', or a two-stage detector"
        )

    def inputs(self, record: MapRecord, teacher_outputs: MapOutputs) -> tuple:
        """The maps of both."""
        return record.maps, teacher_outputs.maps

    def extras(
        self, record: MapRecord, teacher_outputs: MapOutputs, loss: Model
    ) -> dict[str, list[Tensor]]:
        """The weight of each position, for a loss with a gate or with FGD's foreground."""
        if 'focal' in loss.extra_inputs:
            return dict(focal=teacher_outputs.focal(loss.gate))
        if loss.gate is None:
            return {}
        return dict(gate=teacher_outputs.gate(loss.gate, loss.background_weight))


def paired(record: MapRecord, maps: Sequence[Tensor], step: Step) -> MapOutputs:
    """The teacher's maps, one for each of the student's.

    TridentNet's backbone trains on three maps of an image, one for each dilation, the images of a
    branch together.
    """
    first = lambda maps: maps if isinstance(maps, torch.Tensor) else maps[0]
    counts = len(first(record.maps)), len(first(maps))
    branches = counts[0] // counts[1] if counts[1] and counts[0] % counts[1] == 0 else 1
    if branches > 1:
        maps = [part.repeat(branches, 1, 1, 1) for part in maps]
    return MapOutputs(maps, step, branches)
