"""Losses for distillation, each a registered class that also works alone."""

from .btkd import BTKDLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .ikd import IKDLoss
from .kd import KDLoss
from .logit_loss import LogitLoss
from .nkd import NKDLoss
from .rld import RLDLoss
from .wttm import WTTMLoss

__all__ = [
    'BTKDLoss',
    'DISTLoss',
    'DKDLoss',
    'IKDLoss',
    'KDLoss',
    'LogitLoss',
    'NKDLoss',
    'RLDLoss',
    'WTTMLoss',
]
