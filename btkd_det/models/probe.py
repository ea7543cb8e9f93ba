"""The former place of :mod:`btkd_det.sites.probe`."""

from ..sites.probe import candidates, input_shape, probed

__all__ = ['candidates', 'input_shape', 'probed']
