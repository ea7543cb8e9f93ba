"""The presets of published feature losses: their authors' weights, see docs/losses.md."""

from typing import Any

from .distilled_types import SINGLE_STAGE, TWO_STAGE

#: Of the four levels that Faster R-CNN's RoIs are taken from.
_RCNN_LEVELS = (0, 1, 2, 3)


def _fgd(temperature: float, alpha: float, gamma: float, **options: Any) -> dict[str, Any]:
    """FGD's loss: in all of its authors' configs beta is half of alpha."""
    return dict(
        type='btkd_det.FGDLoss',
        temperature=temperature,
        alpha=alpha,
        beta=alpha / 2,
        gamma=gamma,
        **options,
    )


def _fbkd(levels: tuple[int, ...], reduction: int, pool: int) -> dict[str, Any]:
    return dict(type='btkd_det.FBKDLoss', levels=levels, reduction=reduction, pool=pool)


#: What each preset puts where, by the distilled class, or by a plain class that has its own
#: weights. The sources, read there: ``configs/distillers/fgd`` of ``yzd-v/FGD``,
#: ``det/configs/distillers/mgd`` of ``yzd-v/MGD``, ``configs/distill/mmdet/fbkd`` of MMRazor.
FEATURE_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    'fgd': {
        TWO_STAGE: dict(fpn=_fgd(0.5, 5e-5, 5e-5, lambda_=5e-7, levels=_RCNN_LEVELS)),
        SINGLE_STAGE: dict(fpn=_fgd(0.5, 1e-3, 5e-4, lambda_=5e-6)),
        'FCOS': dict(fpn=_fgd(0.8, 1.6e-3, 8e-4, lambda_=8e-6)),
    },
    'mgd': {
        TWO_STAGE: dict(
            fpn=dict(
                type='btkd_det.MGDLoss', mask_ratio=0.45, loss_weight=5e-7, levels=_RCNN_LEVELS
            )
        ),
        SINGLE_STAGE: dict(fpn=dict(type='btkd_det.MGDLoss', mask_ratio=0.65, loss_weight=2e-5)),
    },
    'fbkd': {
        TWO_STAGE: dict(fpn=[_fbkd((0,), 4, 16), _fbkd((1,), 4, 8), _fbkd((2, 3), 2, 4)]),
    },
}
