"""The site ``features``: the maps that a classifier's backbone gives."""

from torch import Tensor

from ..errors import ConfigError
from ..hints import Model
from ..registry import SITES
from ..teacher.images import ImageOutputs, run_classifier
from .base import Site
from .images import ImageRecord, ImageRecorder, check_no_boxes


@SITES.register_module(name='features')
class Features(Site):
    """Maps of each of the backbone's ``out_indices``, often the last one alone."""

    family = 'FeatureLoss'
    recorder = ImageRecorder

    def check(self, student: Model, teacher: Model) -> None:
        """A cache holds no maps, and a gate needs boxes."""
        check_no_boxes(self.name, self)
        if hasattr(teacher, 'logits_of'):
            raise ConfigError(
                'distill.features: teacher.cache holds logits alone; valid with a cache is the '
                'site logits, or give teacher=dict(config=..., checkpoint=...)'
            )

    def shapes(self, model: Model, images: Tensor) -> list[tuple[int, ...]]:
        """(C, H, W) of each map."""
        maps = run_classifier(model, images, ('features',)).features
        if any(not isinstance(part, Tensor) or part.ndim != 4 for part in maps):
            field = 'model' if hasattr(model, 'distill') else 'teacher.config'
            raise ConfigError(
                f'{field}.backbone: gives no maps of (N, C, H, W) for the site features; valid is '
                "a backbone that does, for transformers often with out_type='featmap'"
            )
        return [tuple(part.shape[1:]) for part in maps]

    def inputs(self, record: ImageRecord, teacher_outputs: ImageOutputs) -> tuple:
        """The maps of both."""
        return record.features, teacher_outputs.features
