"""The base of feature losses that learn something of their own at each level."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..hints import Model
from .feature_loss import FeatureLoss, as_levels


class LevelModuleLoss(FeatureLoss):
    """A feature loss with a module for each level, made when the channels are known.

    A subclass says in :meth:`level_module` what is learned at a level and in :meth:`level_with`
    what the level costs. Adapters, levels, precision and empty batches are as in
    :class:`~btkd_det.losses.feature_loss.FeatureLoss`. The distilled models call :meth:`fit`
    when they are built.

    Args:
        **kwargs: See :class:`~btkd_det.losses.feature_loss.FeatureLoss`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.level_modules = nn.ModuleDict()

    def fit(self, student_shapes: Sequence[tuple], teacher_shapes: Sequence[tuple]) -> None:
        """Make adapters and modules; see :meth:`FeatureLoss.fit`."""
        super().fit(student_shapes, teacher_shapes)
        for level, partner in self.chosen(student_shapes, teacher_shapes):
            self.level_modules[str(level)] = self.level_module(teacher_shapes[partner][0])

    @abstractmethod
    def level_module(self, channels: int) -> nn.Module:
        """What is learned at a level.

        Args:
            channels (int): Of the teacher's map, and of the student's behind its adapter.

        Returns:
            nn.Module: For :meth:`level_with`.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what it learns')

    @abstractmethod
    def level_with(
        self, module: Model, student: Tensor, teacher: Tensor, extra: dict[str, Tensor]
    ) -> Tensor:
        """What one level costs, without ``loss_weight``.

        Args:
            module (nn.Module): Of :meth:`level_module`.
            student (Tensor): (N, C, H, W).
            teacher (Tensor): (N, C, H, W).
            extra (dict[str, Tensor]): Of what :attr:`extra_inputs` names, that of this level.

        Returns:
            Tensor: A scalar.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what a level costs')

    def level(self, student: Tensor, teacher: Tensor, gate: Tensor | None = None) -> Tensor:
        """Raise a TypeError: a level costs nothing without its module."""
        raise TypeError(f'{type(self).__name__} has a module for each level; call it as a whole')

    def forward(
        self,
        student_maps: Sequence[Tensor] | Tensor,
        teacher_maps: Sequence[Tensor] | Tensor,
        gate: Sequence[Tensor] | None = None,
        **extra: Sequence[Tensor],
    ) -> Tensor:
        """The sum over the levels, times ``loss_weight``.

        Args:
            student_maps, teacher_maps, gate: See :meth:`FeatureLoss.forward`.
            **extra (Sequence[Tensor]): Further :attr:`extra_inputs`, a tensor for each of the
                teacher's maps.

        Returns:
            Tensor: A scalar.

        Raises:
            ValueError: :meth:`fit` was not called, so there is no module.
        """
        if not self.level_modules:
            raise ValueError(
                f'{type(self).__name__} learns a module for each level; call fit(student_shapes, '
                'teacher_shapes) before training, as the distilled models do'
            )
        ours = [self.cast(part) for part in as_levels(student_maps)]
        its = [self.cast(part.detach()) for part in as_levels(teacher_maps)]
        # An unused module still takes part: distributed training waits for its gradients.
        total = ours[0][:0].float().sum() + self.unused()
        given = extra if gate is None else {'gate': gate, **extra}
        for level, partner, student, teacher in self.paired(ours, its):
            own = {name: maps[partner] for name, maps in given.items()}
            module = self.level_modules[str(level)]
            total = total + self.level_with(module, student, teacher, own)
        return total * self.loss_weight
