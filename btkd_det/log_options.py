"""The former place of :mod:`btkd_det.config.log_options`."""

from .config.log_options import MEAN_PATTERN, average_log

__all__ = ['MEAN_PATTERN', 'average_log']
