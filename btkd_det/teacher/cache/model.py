"""A teacher that answered beforehand: its logits of the training data, in a file."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...provenance import OF_TEACHER, check_teacher, checkpoint_file, file_digest
from ..building import digest_of_config
from ..zoo import pretrained_address
from .format import COMMAND, check_header, read_cache


class CachedTeacher(nn.Module):
    """The teacher's logits of the training data, where a running teacher would stand.

    ``tools/cache_teacher.py`` writes the file. Images are looked up by the ``sample_idx`` of
    their data samples and, where they are one of K fixed augmented views, by ``view``. The file
    is mapped into memory, so that the processes of a machine share it; it stays on the CPU.

    Whether it belongs to the training data, :func:`btkd_det.preflight.check_cache` sees before
    training; ``tools/train.py`` calls it. In any other runner, images of a
    :class:`~btkd_det.datasets.InMemoryImages` say what set they are of, and a cache of another
    number of images, of other images, classes, labels or views is refused at the first batch.
    Another data set says nothing of itself: there the ``sample_idx`` alone has to be in range.

    Args:
        cache (str): The file.
        checkpoint (str, optional): The teacher's weights, a path or an http(s) address; if
            given, the cache has to have been written with that very file.
        config (str | dict, optional): The teacher's config; if given, the cache has to have been
            written by a teacher of the same network and normalization. It is not built.
        dtype (str, optional): What that teacher computed in; held against the cache where this
            or ``config`` is given.
        class_map (Sequence[int], optional): Held against the cache's.

    Attributes:
        logits (Tensor): (K, N, C) float16, on the CPU.
        header (dict): See :mod:`btkd_det.teacher.cache.format`.
        num_classes (int): C.

    Raises:
        ConfigError: The file is missing, damaged or no cache, or is of another teacher.
    """

    #: Of a :class:`~btkd_det.models.Teacher`; a cache has none of them.
    init_student = class_map = classes = None

    def __init__(
        self,
        cache: str,
        checkpoint: str | None = None,
        config: Any = None,
        dtype: str | None = None,
        class_map: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.path = cache
        self.logits, self.header = read_cache(cache)
        self.num_classes = self.logits.shape[2]
        self._fitting = None
        if checkpoint == 'pretrained':
            checkpoint = pretrained_address(config)
        if checkpoint is not None:
            self._check_checkpoint(checkpoint)
        known = dict(dtype=dtype, class_map=class_map and list(class_map))
        known = {key: value for key, value in known.items() if value is not None}
        if config is not None:
            known |= dict(teacher_config=digest_of_config(config), dtype=dtype)
        check_teacher(self.header, known, cache, 'teacher.cache', COMMAND)

    def __deepcopy__(self, memo: Any) -> 'CachedTeacher':
        """A copy of the student (EMA) shares the cache."""
        return self

    def would_change(self, function: Callable) -> bool:
        """It has no weights that could go to another device."""
        return False

    def at_work(self, device_type: str) -> Any:
        """A context in which nothing has to be done; see :class:`btkd_det.teacher.Teacher`."""
        return contextlib.nullcontext()

    def follow(self, preprocessor: Any) -> None:
        """Nothing to learn: the images have been seen."""

    def provenance(self) -> dict[Any, Any]:
        """What the cache knows of the teacher that wrote it; see ``Teacher``."""
        return {key: self.header[key] for key in OF_TEACHER}

    def logits_of(self, data_samples: Sequence, device: torch.device | str) -> Tensor:
        """What the teacher gave for these images.

        Args:
            data_samples (Sequence[DataSample]): With ``sample_idx``, and ``view`` where the
                cache has several.
            device (torch.device | str): Where the logits are needed.

        Returns:
            Tensor: (N, C) float16.

        Raises:
            ConfigError: A sample does not say which image or view it is, or the cache has no
                such one, or is of another set than the first sample says.
        """
        self._check_set(data_samples[0].get('image_set'))
        several = self.header['views'] is not None
        images = self._numbers(data_samples, 'sample_idx', self.logits.shape[1])
        views = torch.zeros_like(images)
        if several:
            views = self._numbers(data_samples, 'view', self.logits.shape[0])
        elif any(sample.get('view') is not None for sample in data_samples):
            raise ConfigError(
                f'teacher.cache: {self.path} holds no augmented views, but the training data '
                'gives some; valid is a cache of the same views'
            )
        return self.logits[views, images].to(device, non_blocking=True)

    def _check_set(self, found: Any) -> None:
        """Hold the cache against what a sample says of its set, once for each set."""
        if found is not None and found is not self._fitting:
            check_header(self.header, found, self.path)
            self._fitting = found

    def _numbers(self, data_samples: Sequence[Any], name: str, count: Any) -> Any:
        numbers = [sample.get(name) for sample in data_samples]
        if None in numbers:
            raise ConfigError(
                f'teacher.cache: the data samples have no {name!r} to look the logits up by; '
                + (
                    "valid is 'sample_idx' among the meta_keys of PackInputs, its default"
                    if name == 'sample_idx'
                    else 'valid is an InMemoryImages with the views of the cache'
                )
            )
        if not all(0 <= number < count for number in numbers):
            raise ConfigError(
                f'teacher.cache: {self.path} has {count} entries for {name!r}, but the training '
                f'data asks for number {max(numbers)}; valid is a cache of this data'
            )
        return torch.tensor(numbers)

    def _check_checkpoint(self, checkpoint: Any) -> None:
        source, file = str(checkpoint), checkpoint_file(checkpoint)
        if source == self.header['checkpoint'] and not file.is_file():
            return
        if not file.is_file():
            raise ConfigError(
                f'teacher.checkpoint: no file {source} to hold against teacher.cache; valid is '
                f'the one that the cache was written with ({self.header["checkpoint"]}), or None'
            )
        digest = file_digest(file)
        if digest != self.header['checkpoint_sha256']:
            raise ConfigError(
                f'teacher.cache: {self.path} was written with another checkpoint, '
                f'{self.header["checkpoint"]} of SHA-256 '
                f'{self.header["checkpoint_sha256"][:12]}..., but teacher.checkpoint {source} has '
                f'{digest[:12]}...; valid is a cache of this checkpoint, which '
                'tools/cache_teacher.py writes'
            )
