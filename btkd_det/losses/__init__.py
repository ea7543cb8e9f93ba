"""Losses for distillation, each a registered class that also works alone."""

from .binary_kd import BinaryKDLoss
from .box import BoxLoss
from .btkd import BTKDLoss
from .cwd import CWDLoss
from .dist import DISTLoss
from .distribution import DistributionLoss
from .dkd import DKDLoss
from .feature_loss import FeatureLoss
from .fitnet import FitNetLoss
from .ikd import IKDLoss
from .kd import KDLoss
from .logit_loss import LogitLoss
from .nkd import NKDLoss
from .pkd import PKDLoss
from .reviewkd import ReviewKDLoss
from .rld import RLDLoss
from .wttm import WTTMLoss

__all__ = [
    'BTKDLoss',
    'BinaryKDLoss',
    'BoxLoss',
    'CWDLoss',
    'DISTLoss',
    'DKDLoss',
    'DistributionLoss',
    'FeatureLoss',
    'FitNetLoss',
    'IKDLoss',
    'KDLoss',
    'LogitLoss',
    'NKDLoss',
    'PKDLoss',
    'RLDLoss',
    'ReviewKDLoss',
    'WTTMLoss',
]
