"""The file of a teacher's mean logits per class, and whose means they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..checkpoint.writing import atomic_path
from ..checks import check_file
from ..errors import ConfigError
from ..provenance import check_content, check_teacher, content_digest

FORMAT = 'btkd_det class means 1'
COMMAND = 'tools/class_means.py'


@dataclass
class ClassMeans:
    """Mean logits of C classes, the background included where the logits have it.

    Attributes:
        means (Tensor): (C, C), row y the mean logits of the rows of class y.
        counts (Tensor): Rows of each class, (C,).
        path (str): The file.
        header (dict | None): What the file says of its teacher and data, ``classes`` being the
            names in the teacher's order, without the background's, or None; ``None`` for a table
            that says nothing.
    """

    means: Tensor
    counts: Tensor
    path: str
    header: dict | None

    @property
    def classes(self) -> tuple[str, ...] | None:
        """tuple[str] | None: Names of the classes, where the file tells them."""
        names = (self.header or {}).get('classes')
        return tuple(names) if names else None

    def for_student(
        self, classes: Sequence[str] | None, class_map: Sequence[int] | None
    ) -> 'ClassMeans':
        """The means in the student's order of classes.

        Args:
            classes (Sequence[str] | None): The names that the teacher knows, in the student's
                order.
            class_map (Sequence[int] | None): The teacher's index of each of them.

        Returns:
            ClassMeans: Of the student's classes, and of the background where there is one.

        Raises:
            ConfigError: The file has no such classes, or does not say which ones it has.
        """
        order = self._order(classes, class_map)
        own = self.classes
        if order is None or own is None or self.header is None:
            return self
        rows = [*order, *range(len(own), len(self.counts))]
        header = dict(self.header, classes=[own[index] for index in order])
        return ClassMeans(self.means[rows][:, rows], self.counts[rows], self.path, header)

    def _order(
        self, classes: Sequence[str] | None, class_map: Sequence[int] | None
    ) -> list[int] | None:
        own = self.classes
        if classes and own:
            lacking = [name for name in classes if name not in own]
            if lacking:
                raise ConfigError(
                    f'class_means: {self.path} has no means of {", ".join(lacking[:10])}; its '
                    f'classes: {", ".join(own[:10])}; valid is a file of this teacher, which '
                    f'{COMMAND} writes'
                )
            return [own.index(name) for name in classes]
        if class_map is None:
            return None
        if own is None:
            raise ConfigError(
                f'class_means: {self.path} does not name its classes, so teacher.class_map cannot '
                f'be applied to it; valid is a file that {COMMAND} writes from data with names'
            )
        if max(class_map) >= len(own):
            raise ConfigError(
                f'class_means: {self.path} has {len(own)} classes, but teacher.class_map is '
                f'{list(class_map)}; valid is a file of this teacher, which {COMMAND} writes'
            )
        return list(class_map)


def write_class_means(
    path: str | Path, means: Tensor, counts: Tensor, header: dict[str, Any]
) -> None:
    """Write what :func:`read_class_means` reads.

    Args:
        path (str | Path): The file; its folder is made.
        means (Tensor): (C, C).
        counts (Tensor): (C,).
        header (dict): ``classes`` (the names or None), ``labels`` and ``images`` of the data, and
            the entries of :data:`btkd_det.provenance.OF_TEACHER`.
    """
    header = dict(header, content=content_digest(means, counts))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content = dict(format=FORMAT, header=header, class_means=means, class_counts=counts)
    with atomic_path(path) as part:
        torch.save(content, part)


def read_class_means(path: str | Path) -> 'ClassMeans':
    """Read a file of class means.

    Args:
        path (str | Path): What ``tools/class_means.py`` wrote; or, with a warning,
            ``dict(class_means=(C, C), class_counts=(C,))`` or the (C, C) tensor alone, then every
            class counts as seen.

    Returns:
        ClassMeans: What it holds.

    Raises:
        ConfigError: The file is missing, is no such file, is damaged, or has numbers that are not
            finite.
    """
    check_file('class_means', path, f'a file that {COMMAND} wrote')
    try:
        stored = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise ConfigError(
            f'class_means: {str(path)!r} is no file of tensors that can be read ({error})'
        ) from error
    if isinstance(stored, Tensor):
        stored = {'class_means': stored, 'class_counts': torch.ones(stored.shape[:1])}
    means, counts = (_tensor(stored, name, path) for name in ('class_means', 'class_counts'))
    if means.shape != (len(counts), len(counts)):
        raise ConfigError(
            f'class_means: {str(path)!r} has class_means of shape {tuple(means.shape)} and '
            f'class_counts of shape {tuple(counts.shape)}; valid: (C, C) and (C,)'
        )
    header = stored.get('header')
    if not isinstance(header, dict):
        print_log(
            f'class_means: {path} does not say which teacher and classes it is of; it is taken to '
            f"be of this teacher and in the student's order. {COMMAND} writes a file that says it",
            'current',
            level=30,
        )
        header = None
    else:
        check_content(header, [means, counts], path, 'class_means', COMMAND)
    return ClassMeans(means, counts, str(path), header)


def check_class_means(file: ClassMeans, teacher: dict[str, Any]) -> None:
    """Hold a file of class means against the teacher in use.

    Args:
        file (ClassMeans): The file.
        teacher (dict): Some of the entries of :data:`btkd_det.provenance.OF_TEACHER`.

    Raises:
        ConfigError: It was written with another teacher.
    """
    if file.header is None:
        return
    # The means are in the teacher's own classes, and means hardly know of precision.
    keys = ('checkpoint_sha256', 'teacher_config')
    known: dict[str, Any] = {key: teacher[key] for key in keys if key in teacher}
    check_teacher(file.header, known, file.path, 'class_means', COMMAND)


def _tensor(stored: Any, name: str, path: str | Path) -> Tensor:
    value = stored.get(name) if isinstance(stored, dict) else None
    if not isinstance(value, Tensor) or value.dim() != (1 if name == 'class_counts' else 2):
        found = tuple(value.shape) if isinstance(value, Tensor) else None
        raise ConfigError(
            f'class_means: {str(path)!r} has {name} of shape {found}; valid: '
            f'{"(C,)" if name == "class_counts" else "(C, C)"}'
        )
    if not bool(value.isfinite().all()):
        raise ConfigError(f'class_means: {name} in {str(path)!r} is not finite')
    return value
