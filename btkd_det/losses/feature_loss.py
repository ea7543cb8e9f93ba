"""The base of all losses between feature maps."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_choice, check_not_negative
from ..errors import ConfigError
from ..registry import MODELS
from .divergences import HALF
from .levels import levels_of_one_size, parse_levels

#: Channels, height and width of a map.
Shape: TypeAlias = tuple[int, ...]
GATES = (None, 'teacher_right', 'foreground')


@MODELS.register_module()
class FeatureLoss(nn.Module):
    """A loss that compares the student's feature maps with the teacher's, level by level.

    A subclass says in :meth:`level` what one level costs. The teacher never gets a gradient, half
    precision is computed in float32, and no images cost an exact 0 that still has a gradient.

    Where channels differ, :meth:`fit` makes an adapter from the student's channels to the
    teacher's, a 1 x 1 convolution, before training starts; where sizes differ, the student's map
    is interpolated to the teacher's size.

    Args:
        levels (Sequence[int], optional): Which of the student's maps take part, such as
            ``(0, 1, 2, 3)``. All by default; where the teacher has more maps or fewer, those
            that have a map of the same size there.
        teacher_levels (Sequence[int], optional): Which of the teacher's maps they are compared
            with, one for each of ``levels``. The same numbers by default. Detectors of different
            families may start at different strides: with RTMDet (8, 16, 32) as the student of a
            Faster R-CNN (4, 8, 16, 32, 64), ``levels=(0, 1, 2), teacher_levels=(1, 2, 3)``.
        adapter (str, optional): ``'auto'``, or ``None``: channels and sizes have to be equal.
        gate (str, optional): Which part of a detector's maps counts: ``'teacher_right'``, the
            inside of the boxes that the teacher classifies rightly; ``'foreground'``, the inside
            of all boxes; ``None``, everything alike. The distilled detectors make the gate.
        background_weight (float): With a gate, what the background weighs as a whole, where the
            foreground weighs 1.
        loss_weight (float): Factor of the loss.

    Raises:
        ConfigError: ``adapter`` or ``gate`` is unknown, ``levels`` is no list of distinct
            numbers or ``teacher_levels`` none of as many, or a weight is below 0.
    """

    #: What the loss reads beside the maps; see LogitLoss.
    extra_inputs: tuple[str, ...] = ('gate',)
    #: Whether :meth:`level` is given float32 where the maps are in half precision.
    in_float = True

    def __init__(
        self,
        levels: Sequence[int] | None = None,
        adapter: str | None = 'auto',
        gate: str | None = None,
        background_weight: float = 0.5,
        loss_weight: float = 1.0,
        teacher_levels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_not_negative(loss_weight=loss_weight, background_weight=background_weight)
        check_choice('gate', gate, GATES)
        self.gate = gate
        self.background_weight = background_weight
        check_choice('adapter', adapter, ('auto', None))
        self.levels = parse_levels(levels, teacher_levels)
        self.adapter = adapter
        self.loss_weight = loss_weight
        self.adapters = nn.ModuleDict()

    def fit(
        self,
        student_shapes: Sequence[tuple[int, int, int]],
        teacher_shapes: Sequence[tuple[int, int, int]],
    ) -> None:
        """Prepare for maps of these shapes; called once, when the model is built.

        Args:
            student_shapes (Sequence[tuple[int, int, int]]): (C, H, W) of each of the student's
                maps, for some input.
            teacher_shapes (Sequence[tuple[int, int, int]]): The teacher's for the same input.

        Raises:
            ConfigError: There is no such level, shapes differ and ``adapter`` is ``None``; see
                also :meth:`settle_levels`.
        """
        self.settle_levels(student_shapes, teacher_shapes)
        for level, partner in self.chosen(student_shapes, teacher_shapes):
            student, teacher = tuple(student_shapes[level]), tuple(teacher_shapes[partner])
            if student == teacher:
                continue
            if self.adapter is None:
                raise ConfigError(
                    f"adapter: None, but at level {level} the student's map is {student} and the "
                    f"teacher's {teacher} (channels, height, width); valid: adapter='auto', or "
                    'maps of equal shape'
                )
            self._adapt(level, student, teacher)

    def settle_levels(
        self, student_shapes: Sequence[Shape], teacher_shapes: Sequence[Shape]
    ) -> None:
        """Where there are not as many maps of both, pair those of one size.

        Args:
            student_shapes, teacher_shapes: See :meth:`fit`.

        Raises:
            ConfigError: ``levels`` is not given, the numbers of maps differ, and sizes do not
                say which belongs to which.
        """
        self.levels = levels_of_one_size(
            self.levels, student_shapes, teacher_shapes, type(self).__name__
        )

    def chosen(self, student_maps: Sequence, teacher_maps: Sequence) -> tuple[tuple[int, int], ...]:
        """The levels that take part.

        Args:
            student_maps (Sequence): One entry for each level.
            teacher_maps (Sequence): Likewise.

        Returns:
            tuple[tuple[int, int]]: A level of the student and the teacher's that it is compared
            with, from the shallowest to the deepest.

        Raises:
            ConfigError: ``levels`` or ``teacher_levels`` names one that is not there.
        """
        counts = len(student_maps), len(teacher_maps)
        if self.levels is None:
            common = range(min(counts))
            return tuple(zip(common, common, strict=True))
        for pair in self.levels:
            for field, whose, level, count in zip(
                ('levels', 'teacher_levels'), ('student', 'teacher'), pair, counts, strict=True
            ):
                if level >= count:
                    raise ConfigError(
                        f'{field}: there is no level {level}; the {whose} has {count} maps '
                        f'(the student {counts[0]}, the teacher {counts[1]}); valid: 0 to '
                        f'{count - 1}'
                    )
        return self.levels

    def forward(
        self,
        student_maps: Sequence[Tensor] | Tensor,
        teacher_maps: Sequence[Tensor] | Tensor,
        gate: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The sum over the levels, times ``loss_weight``.

        Args:
            student_maps (Sequence[Tensor] | Tensor): (N, C, H, W) each; one tensor is one level.
            teacher_maps (Sequence[Tensor] | Tensor): (N, C', H', W') each.
            gate (Sequence[Tensor], optional): (N, 1, H', W') each: the weight of each position,
                at the teacher's size. What a level costs is then the weighted sum over its
                positions, where without a gate it is their mean (each weighs 1 / (N H' W')).

        Returns:
            Tensor: A scalar.
        """
        ours = [self.cast(part) for part in as_levels(student_maps)]
        its = [self.cast(part.detach()) for part in as_levels(teacher_maps)]
        total = ours[0][:0].float().sum()
        pairs = self.paired(ours, its)
        for _, partner, student, teacher in pairs:
            total = total + self.level(student, teacher, None if gate is None else gate[partner])
        if not pairs:
            total = total + self.unused()
        return total * self.loss_weight

    def paired(
        self, ours: Sequence[Tensor], its: Sequence[Tensor]
    ) -> list[tuple[int, int, Tensor, Tensor]]:
        """The levels that take part and are not empty, the student's maps adapted.

        Args:
            ours (Sequence[Tensor]): The student's maps.
            its (Sequence[Tensor]): The teacher's.

        Returns:
            list[tuple[int, int, Tensor, Tensor]]: The student's level, the teacher's, and the map
            of each.
        """
        return [
            (level, partner, self.adapted(level, ours[level], its[partner]), its[partner])
            for level, partner in self.chosen(ours, its)
            if ours[level].numel() and its[partner].numel()
        ]

    def unused(self) -> Tensor:
        """An exact 0 of all that the loss learns: distributed training waits for its gradients."""
        sums = (parameter.sum() for parameter in self.parameters())
        return sum(sums, start=torch.zeros(())) * 0

    def adapted(self, level: int, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's map with the teacher's channels and size.

        Args:
            level (int): Which adapter.
            student (Tensor): (N, C, H, W).
            teacher (Tensor): (N, C', H', W').

        Returns:
            Tensor: (N, C', H', W').

        Raises:
            ValueError: Channels differ and :meth:`fit` was not called with them.
        """
        if str(level) in self.adapters:
            adapter: Any = self.adapters[str(level)]
            student = adapter(for_layer(student, adapter))
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f"level {level}: the student's map {tuple(student.shape)} and the teacher's "
                f'{tuple(teacher.shape)} differ in channels; call fit(student_shapes, '
                'teacher_shapes) before training, as the distilled models do'
            )
        if student.shape[2:] != teacher.shape[2:]:
            student = F.interpolate(
                student, teacher.shape[2:], mode='bilinear', align_corners=False
            )
        # Under autocast an adapter's map is in half precision again.
        return self.cast(student)

    def cast(self, maps: Tensor) -> Tensor:
        """Maps in the precision that :meth:`level` takes."""
        return maps.float() if self.in_float and maps.dtype in HALF else maps

    @abstractmethod
    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """What one level costs, without ``loss_weight``.

        Args:
            student (Tensor): (N, C, H, W).
            teacher (Tensor): (N, C, H, W).
            gate (Tensor, optional): (N, 1, H, W), see :meth:`forward`.

        Returns:
            Tensor: A scalar.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what a level costs')

    def _adapt(self, level: int, student: Shape, teacher: Shape) -> None:
        made = []
        if student[0] != teacher[0]:
            self.adapters[str(level)] = nn.Conv2d(student[0], teacher[0], kernel_size=1)
            made.append(f'1 x 1 convolution from {student[0]} to {teacher[0]} channels')
        if student[1:] != teacher[1:]:
            scale = teacher[1] / student[1]
            hint = '; teacher_levels can pair other maps' if not 0.7 < scale < 1.4 else ''
            made.append(f'interpolation by {scale:g}{hint}')
        print_log(f'{type(self).__name__}, level {level}: {", ".join(made)}', 'current')


def as_levels(maps: Sequence[Tensor] | Tensor) -> Sequence[Tensor]:
    """One map alone as a sequence of one; what is none stays as it is."""
    return (maps,) if isinstance(maps, torch.Tensor) else maps


def for_layer(maps: Tensor, layer: Any) -> Tensor:
    """Maps in the precision of a layer's weights, where autocast does not see to that."""
    if maps.dtype == layer.weight.dtype or torch.is_autocast_enabled(maps.device.type):
        return maps
    return maps.to(layer.weight.dtype)


def weighted_sum(values: Tensor, gate: Tensor | None = None) -> Tensor:
    """The mean over all positions, or with a gate their weighted sum.

    Args:
        values (Tensor): (N, H, W).
        gate (Tensor, optional): (N, 1, H, W).

    Returns:
        Tensor: A scalar.
    """
    if gate is None:
        return values.mean()
    return torch.sum(values * gate.squeeze(1))
