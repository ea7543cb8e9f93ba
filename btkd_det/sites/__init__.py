"""Where knowledge is taken: one class for each site, in a file of its name.

A site says which losses can stand there, what of the student's forward it reads, and what it hands
to the losses. See :class:`btkd_det.sites.base.Site` for how to add one.
"""

# In this order messages list the sites and the log shows their losses.
# ruff: isort: off
from ..compat.installed import is_installed
from .base import Recorder, Site, Step

if is_installed('mmdet'):
    from .roi_logits import RoILogits
    from .roi_features import RoIFeatures
    from .roi_boxes import RoIBoxes
    from .roi_masks import RoIMasks
    from .dense_logits import DenseLogits
    from .dense_boxes import DenseBoxes
    from .query_logits import QueryLogits
    from .query_boxes import QueryBoxes
from .fpn import FPN
from .backbone import Backbone
from .logits import Logits
from .features import Features

# ruff: isort: on

__all__ = [
    'FPN',
    'Backbone',
    'DenseBoxes',
    'DenseLogits',
    'Features',
    'Logits',
    'QueryBoxes',
    'QueryLogits',
    'Recorder',
    'RoIBoxes',
    'RoIFeatures',
    'RoILogits',
    'RoIMasks',
    'Site',
    'Step',
]
