"""Dense heads: what they give at every anchor, and what their classification loss compares it with.

Student and teacher have the same anchors: as many levels, of the same sizes, with as many anchors
at a position.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..hints import Model
from .base import Recorder, Step
from .dense_checks import unknown_loss
from .dense_readers import by_level, gives_probabilities, head_logits, reader_of, width_of


@dataclass
class DenseRecord:
    """What a dense head gave and learned from in one iteration; R rows: anchors of all levels.

    Attributes:
        head (nn.Module): The student's.
        outputs (tuple): What the head's ``forward`` gave: a list of maps for each kind.
        level_logits (list[Tensor]): (R_l, C) of each call of the classification loss.
        level_labels (list[Tensor]): (R_l,) of each, ``C`` for background.
        level_counted (list[Tensor]): (R_l,) bool of each: whether the anchor has a weight above 0
            in that loss. Those without are neither an object nor background: RetinaNet's with an
            IoU from 0.4 to 0.5, and all that lie in the padding.
    """

    head: Model
    outputs: tuple = ()
    level_logits: list[Tensor] = field(default_factory=list)
    level_labels: list[Tensor] = field(default_factory=list)
    level_counted: list[Tensor] = field(default_factory=list)

    @functools.cached_property
    def logits(self) -> Tensor:
        """(R, C)."""
        return torch.cat(self.level_logits)

    @functools.cached_property
    def labels(self) -> Tensor:
        """(R,); below 0 where an anchor has no class at all."""
        return torch.cat(self.level_labels)

    @functools.cached_property
    def foreground(self) -> Tensor:
        """(R,) bool: the anchors that were assigned an object."""
        labels = self.labels
        return (labels >= 0) & (labels < self.head.num_classes)

    @functools.cached_property
    def counted(self) -> Tensor:
        """(R,) bool: the anchors that count in the student's classification loss."""
        return torch.cat(self.level_counted) & (self.labels >= 0)


@dataclass
class DenseOutputs:
    """What the teacher's dense head gives.

    Attributes:
        teacher (Teacher): The teacher.
        outputs (tuple): A list of maps for each kind.
    """

    teacher: Model
    outputs: tuple

    @functools.cached_property
    def logits(self) -> Tensor:
        """(R, C), in the student's classes."""
        found = head_logits(self.teacher.model.bbox_head, self.outputs[0])
        return self.teacher.in_students_classes(found)


class DenseRecorder(Recorder):
    """Notes the head's outputs, and what meets in the call of its ``loss_cls``.

    There logits and assigned labels come together, in the same order of rows, whatever the
    head's own way to assign is. Where they do not, a reader tells the labels; see
    :mod:`btkd_det.sites.dense_readers`.
    """

    def __enter__(self) -> 'DenseRecorder':
        head = self.student.bbox_head
        record = DenseRecord(head)
        self.records.append(record)

        def note_targets(module: Model, args: Any, kwargs: Any) -> None:
            logits, target = args[:2]
            weight = args[2] if len(args) > 2 else kwargs.get('weight')
            # GFL's, TOOD's and RTMDet's losses take the label together with a quality.
            labels = target[0] if isinstance(target, (tuple, list)) else target
            if labels.ndim == 2:
                # VFNet's takes a quality for each class, above 0 for that of an object alone.
                quality, labels = labels.max(dim=1)
                labels = torch.where(quality > 0, labels, head.num_classes)
            record.level_logits.append(logits)
            record.level_labels.append(labels)
            # FCOS weighs none of its points.
            counted = torch.ones_like(labels, dtype=torch.bool) if weight is None else weight > 0
            if counted.numel() > len(labels):
                # FSAF weighs each class of a position.
                counted = counted.reshape(len(labels), -1).all(dim=1)
            record.level_counted.append(counted)

        def note_outputs(module: Model, args: Any, result: Any) -> None:
            record.outputs = result

        self._reader: Any = reader_of(head)
        self._read: list[tuple[Tensor, Tensor]] = []
        self._hooks = [head.register_forward_hook(note_outputs)]
        # TOOD begins with another loss.
        for name in ('loss_cls', 'initial_loss_cls'):
            if isinstance(getattr(head, name, None), nn.Module):
                module = getattr(head, name)
                hook = module.register_forward_pre_hook(note_targets, with_kwargs=True)
                self._hooks.append(hook)
        if self._reader is not None:
            self._undo = self._note_calls(head, self._reader)
        return self

    def _note_calls(self, head: Any, reader: Any) -> Any:
        """Note what a reader reads of each call; give what ends it."""
        original = getattr(head, reader.call)

        def note(args: Any, result: Any) -> None:
            self._read.append(reader.read(head, args, result))

        if isinstance(original, nn.Module):
            hook = original.register_forward_hook(lambda module, args, result: note(args, result))
            return hook.remove

        def noting(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            note(args, result)
            return result

        setattr(head, reader.call, noting)
        return lambda: delattr(head, reader.call)

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        if self._reader is not None:
            self._undo()

    def finish(self, samples: Sequence[Any]) -> None:
        """Raise a ConfigError where a head from outside of MMDetection calls its loss otherwise.

        By shapes alone, so that nothing waits for the device.
        """
        (record,) = self.records
        maps = record.outputs[0] if record.outputs else ()
        if self._reader is not None and maps and self._read:
            self._take_what_was_read(record, maps)
        anchors = sum(part.numel() for part in maps) // width_of(record.head)
        shapes = [tuple(part.shape) for part in (*record.level_labels, *record.level_counted)]
        found = sum(map(len, record.level_logits))
        if found != anchors or any(len(shape) != 1 for shape in shapes):
            raise unknown_loss(record.head)
        if gives_probabilities(record.head):
            record.level_logits = [head_logits(record.head, maps)]

    def _take_what_was_read(self, record: Any, maps: Any) -> None:
        """The head's own logits, and a reader's labels in their order."""
        labels = [part for part, _ in self._read]
        counted = [part for _, part in self._read]
        width = width_of(record.head)
        if self._reader.by_image:
            sizes = [part[0].numel() // width for part in maps]
            labels, counted = [by_level(labels, sizes)], [by_level(counted, sizes)]
        elif not self._reader.alone and len(record.level_counted) == len(counted):
            counted = [a & b for a, b in zip(record.level_counted, counted, strict=True)]
        record.level_logits = [head_logits(record.head, maps)]
        record.level_labels, record.level_counted = labels, counted

    def teacher_outputs(self, record: DenseRecord, step: Step) -> DenseOutputs:
        """The teacher's dense head on the maps of its own neck."""
        return DenseOutputs(step.teacher, step.teacher.model.bbox_head(step.features))


def rows(maps: Sequence[Tensor], width: int) -> Tensor:
    """Maps of all levels as rows, in the order in which MMDetection flattens them.

    Args:
        maps (Sequence[Tensor]): (N, A * width, H, W) each.
        width (int): What one anchor has.

    Returns:
        Tensor: (R, width), R the sum of N * H * W * A over the levels.
    """
    return torch.cat([part.permute(0, 2, 3, 1).reshape(-1, width) for part in maps])


def check_rows(student: Tensor, teacher: Tensor) -> None:
    """Raise a ValueError unless both heads have the same anchors with as many outputs."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's dense head has {tuple(student.shape)} anchors and outputs and the "
            f"teacher's {tuple(teacher.shape)}: both heads need the same levels and anchors"
        )
