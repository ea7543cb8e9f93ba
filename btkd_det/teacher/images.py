"""What a classifier gives for a batch of images, in the student's classes."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import ConfigError
from ..hints import Model


@dataclass
class ImageOutputs:
    """What the teacher gives for the same images, in the student's classes.

    Attributes:
        logits (Tensor | None): (N, C); ``None`` where no site reads them.
        features (Sequence[Tensor] | None): (N, F', H', W') each, likewise.
    """

    logits: Any = None
    features: Any = None

    def rows(self, kept: Tensor) -> 'ImageOutputs':
        """Those of some of the images."""
        logits = None if self.logits is None else self.logits.index_select(0, kept)
        return ImageOutputs(logits, self.features and select_rows(self.features, kept))


def run_teacher(teacher: Model, images: Tensor, sites: Container[str]) -> ImageOutputs:
    """What a teacher gives for images, in the student's classes.

    Args:
        teacher (Teacher): Of a classifier.
        images (Tensor): (N, 3, H, W), normalized for the teacher.
        sites (Container[str]): ``'logits'``, ``'features'`` or both.

    Returns:
        ImageOutputs: What the sites read.
    """
    outputs = run_classifier(teacher.model, images, sites, teacher.extract_feat)
    if outputs.logits is not None and teacher.class_map is not None:
        outputs.logits = outputs.logits[:, list(teacher.class_map)]
    return outputs


def run_classifier(
    model: Model,
    images: Tensor,
    sites: Container[str],
    extract_feat: Callable | None = None,
) -> ImageOutputs:
    """As :func:`run_teacher`, of any classifier and in its own classes.

    A classifier without the parts ``backbone`` and ``head``, such as MMPretrain's
    ``TimmClassifier``, gives logits alone.
    """
    if not hasattr(model, 'backbone'):
        if 'features' in sites:
            raise ConfigError(
                f'distill.features: {type(model).__name__} has no backbone whose maps could be '
                'taken; valid is the site logits, or an ImageClassifier'
            )
        return ImageOutputs(model(images))
    outputs = ImageOutputs()
    maps = (extract_feat or model.extract_feat)(images, stage='backbone')
    if 'features' in sites:
        outputs.features = maps
    if 'logits' in sites:
        outputs.logits = model.head(model.neck(maps) if model.with_neck else maps)
    return outputs


def select_rows(maps: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, ...]:
    """Some of the images of every map."""
    return tuple(part.index_select(0, rows.to(part.device)) for part in maps)
