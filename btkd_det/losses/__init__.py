"""Losses for distillation, each a registered class that also works alone."""

from .btkd import BTKDLoss
from .kd import KDLoss
from .logit_loss import LogitLoss

__all__ = ['BTKDLoss', 'KDLoss', 'LogitLoss']
