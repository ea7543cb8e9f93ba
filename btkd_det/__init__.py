"""Distillation for MMDetection and MMEngine that faces a teacher that is sometimes wrong.

Importing the package registers its losses, models, hooks and metrics in MMEngine's registries
under the scope ``btkd_det``, and lets torchvision's compiled operators serve an MMCV that was
installed without its own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

__version__ = '0.2.0'


def distill(cfg: Config | str, teacher: dict[str, Any], preset: str = 'btkd') -> Config:
    """Add a teacher and distillation losses to a plain config.

    Args:
        cfg (Config | str): A config without distillation, or where to read one.
        teacher (dict): ``dict(config=..., checkpoint=...)``.
        preset (str): A name of ``btkd_det.config.PRESETS``.

    Returns:
        Config: See :func:`btkd_det.config.distill`.

    Examples:
        >>> import btkd_det
        >>> cfg = btkd_det.distill(
        ...     'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        ...     teacher=dict(
        ...         config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py',
        ...         checkpoint='pretrained',
        ...     ),
        ... )
        >>> cfg.model.type, list(cfg.model.distill), cfg.model.distill.roi_logits.type
        ('btkd_det.DistilledTwoStageDetector', ['roi_logits'], 'btkd_det.BTKDLoss')
    """
    from . import config

    return config.distill(cfg, teacher, preset)


def set_progress(share: float | None) -> Any:
    """Tell the losses how far a training is that no MMEngine runner drives.

    Call it before each step, or use it as a context: ``with btkd_det.set_progress(0.3): ...``.

    Args:
        share (float | None): The share e / E of the training that is done, from 0 to 1; ``None``
            takes back what was said.

    Returns:
        progress.set_progress: A context manager; at its end what was said before holds again.

    Raises:
        ConfigError: It is no such number.

    Examples:
        >>> import torch
        >>> import btkd_det
        >>> from btkd_det.losses import BTKDLoss
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> loss, labels = BTKDLoss(), torch.tensor([0])  # the teacher is right
        >>> for share in (0.0, 0.5, 1.0):
        ...     with btkd_det.set_progress(share):
        ...         f'{loss(student, teacher, labels).item():.4f}'
        '0.4902'
        '0.2451'
        '0.0000'
    """
    from . import progress

    return progress.set_progress(share)


def _register() -> None:
    from .compat import quiet, torchvision_ops

    quiet.install()
    torchvision_ops.install()
    from . import evaluation, hooks, losses, models  # noqa: F401
    from .config import paths

    paths.register()


# The doctor has to run where these imports fail: it explains why.
if 'btkd_det.doctor' not in sys.orig_argv:
    try:
        _register()
    except Exception as error:
        from . import doctor

        explanation = doctor.explain(error)
        if explanation is None:
            raise
        raise ImportError(f'btkd_det: {explanation}') from error
