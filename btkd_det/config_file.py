"""The former place of :mod:`btkd_det.config.reading`."""

from .config.reading import read_config, type_name

__all__ = ['read_config', 'type_name']
