"""A distilled image classifier: MMPretrain's own, with a teacher beside it."""

from typing import Any

from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import Tensor

from ..checks import check_choice
from ..registry import MODELS, check_keys
from ..sites.images import ImageRecorder
from ..teacher import CachedTeacher
from .distilled import Distilled

MIXED = ('larger', 'drop')


@MODELS.register_module()
class DistilledImageClassifier(Distilled, ImageClassifier):
    """An image classifier of MMPretrain that learns from a teacher.

    The student runs once: what its backbone and its head give on the way to their own loss is
    noted. The teacher runs its backbone, neck and head once, on the same images, normalized as
    it was trained to see them; with ``teacher=dict(cache=...)`` it does not run at all.

    Sites: ``logits``, the head's class logits with the images' labels; ``features``, the maps
    that the backbone gives, each of its ``out_indices`` (often the last map alone).

    Mixup and CutMix give an image two labels, and the judge needs one. ``mixed='larger'`` takes
    the class of the larger share (at equal shares the class of the lower number);
    ``mixed='drop'`` leaves images of more than one class out of all distillation losses, as if
    the batch had only the others. Dropping waits for the device once a step, to learn how many
    are left: a weight of 0 would not be exact for losses that count or compare rows.

    Args:
        *args, **kwargs: As ``mmpretrain.models.ImageClassifier``.
        teacher (dict): See :class:`btkd_det.models.Teacher`, whose config is a classifier's, or
            ``dict(cache=FILE)``, see :class:`btkd_det.models.CachedTeacher`.
        distill (dict): Site name to a loss, a list of losses, or a dict of ``losses`` and
            options; see :class:`btkd_det.sites.base.Site`.
        mixed (str): ``'larger'`` or ``'drop'``. Defaults to ``'larger'``.

    Raises:
        ConfigError: See :class:`Distilled`; also where teacher and student do not tell the same
            number of classes apart, a model does not give what a site needs, a loss needs what
            a classifier does not have (boxes, a gate), or a cache cannot serve the sites.

    Examples:
        >>> import btkd_det
        >>> cfg = btkd_det.distill(
        ...     'mmpretrain::resnet/resnet18_8xb32_in1k.py',
        ...     teacher=dict(
        ...         config='mmpretrain::resnet/resnet34_8xb32_in1k.py',
        ...         checkpoint='pretrained',
        ...     ),
        ... )
        >>> cfg.model.type, list(cfg.model.distill)
        ('btkd_det.DistilledImageClassifier', ['logits'])
    """

    recorders = (ImageRecorder,)

    def __init__(self, *args: Any, mixed: str = 'larger', **kwargs: Any) -> None:
        check_choice('mixed', mixed, MIXED)
        super().__init__(*args, **kwargs)
        self.mixed = mixed

    def build_teacher(self, teacher: Any) -> Any:
        """The teacher that runs, or with the key ``cache`` the one that has run before."""
        if isinstance(teacher, dict) and 'cache' in teacher:
            check_keys(CachedTeacher, teacher, 'teacher')
            return CachedTeacher(**{k: v for k, v in teacher.items() if k != '_scope_'})
        scope = None if DefaultScope.get_current_instance() else 'mmpretrain'
        with DefaultScope.overwrite_default_scope(scope):
            return super().build_teacher(teacher)

    def host_loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """The plain classifier's losses.

        Args:
            inputs (Tensor): (N, 3, H, W).
            data_samples (list[DataSample]): With ``gt_label``, or ``gt_score`` where labels are
                mixed.

        Returns:
            dict[str, Tensor]: With any site, a head's entry ``loss`` is called ``loss_cls``:
            MMEngine logs the sum of all under ``loss``.
        """
        losses = super().host_loss(inputs, data_samples)
        if not self.distill:
            return losses
        return {'loss_cls' if name == 'loss' else name: loss for name, loss in losses.items()}
