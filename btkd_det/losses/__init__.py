"""Losses for distillation, each a registered class that also works alone."""

from .binary_kd import BinaryKDLoss
from .box import BoxLoss
from .btkd import BTKDLoss
from .cwd import CWDLoss
from .dist import DISTLoss
from .distribution import DistributionLoss
from .dkd import DKDLoss
from .fbkd import FBKDLoss
from .feature_loss import FeatureLoss
from .fgd import FGDLoss
from .fitnet import FitNetLoss
from .ikd import IKDLoss
from .kd import KDLoss
from .logit_loss import LogitLoss
from .mgd import MGDLoss
from .nkd import NKDLoss
from .pkd import PKDLoss
from .reviewkd import ReviewKDLoss
from .rkd import RKDAngleLoss, RKDDistanceLoss
from .rld import RLDLoss
from .wsld import WSLDLoss
from .wttm import WTTMLoss

__all__ = [
    'BTKDLoss',
    'BinaryKDLoss',
    'BoxLoss',
    'CWDLoss',
    'DISTLoss',
    'DKDLoss',
    'DistributionLoss',
    'FBKDLoss',
    'FGDLoss',
    'FeatureLoss',
    'FitNetLoss',
    'IKDLoss',
    'KDLoss',
    'LogitLoss',
    'MGDLoss',
    'NKDLoss',
    'PKDLoss',
    'RKDAngleLoss',
    'RKDDistanceLoss',
    'RLDLoss',
    'ReviewKDLoss',
    'WSLDLoss',
    'WTTMLoss',
]
