"""The student's normalization undone, the teacher's applied."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ..errors import ConfigError
from ..hints import Model


class Normalization(NamedTuple):
    """How a data preprocessor changes the values of images.

    Attributes:
        mean (tuple[float]): Of each channel, or one of all.
        std (tuple[float]): Likewise.
        to_rgb (bool): Whether BGR becomes RGB before that.
        pad_value (float): What lies around an image that is smaller than its batch, after that.
    """

    mean: tuple
    std: tuple
    to_rgb: bool
    pad_value: float = 0.0

    @classmethod
    def of(cls, preprocessor: Model) -> 'Normalization':
        """That of a ``data_preprocessor``."""
        # MMPretrain's preprocessor for classifiers has another name for it than all others.
        to_rgb = getattr(preprocessor, 'to_rgb', False)
        to_rgb = getattr(preprocessor, '_channel_conversion', to_rgb)
        pad_value = float(getattr(preprocessor, 'pad_value', 0))
        if not getattr(preprocessor, '_enable_normalize', False):
            return cls((0.0,), (1.0,), to_rgb, pad_value)
        mean, std = (
            tuple(value.flatten().tolist()) for value in (preprocessor.mean, preprocessor.std)
        )
        # One value of all channels alike, or the same one written for each.
        short = lambda values: values[:1] if len(set(values)) == 1 else values
        return cls(short(mean), short(std), to_rgb, pad_value)

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 where all are alike."""
        return max(len(self.mean), len(self.std))


class Renormalize:
    """Turns images normalized for the student into what the teacher was trained to see.

    Args:
        student (nn.Module): The student's ``data_preprocessor``.
        teacher (nn.Module | None): The teacher's.

    Attributes:
        needed (bool): Whether they differ.

    Raises:
        ConfigError: They normalize different numbers of channels.
    """

    def __init__(self, student: Model, teacher: Model | None) -> None:
        self.student, self.teacher = Normalization.of(student), Normalization.of(teacher)
        self.needed = self.student != self.teacher
        ours, theirs = self.student.channels, self.teacher.channels
        if self.needed and theirs != ours and 1 not in (theirs, ours):
            raise ConfigError(
                f"teacher.config: the teacher's data_preprocessor normalizes {theirs} channels, "
                f"but the student's {ours}; valid is a teacher that sees as many channels"
            )

    def __call__(self, inputs: Tensor, shapes: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """See :meth:`btkd_det.teacher.Teacher.images`."""
        column = lambda values: inputs.new_tensor(values).view(1, -1, 1, 1)
        images = inputs * column(self.student.std) + column(self.student.mean)
        if self.student.to_rgb != self.teacher.to_rgb:
            images = images.flip(1)
        images = (images - column(self.teacher.mean)) / column(self.teacher.std)
        for image, (height, width) in zip(images, shapes or [], strict=bool(shapes)):
            image[:, height:] = self.teacher.pad_value
            image[:, :, width:] = self.teacher.pad_value
        return images
