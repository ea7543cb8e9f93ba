"""Everything that can be wrong before training starts, found before anything is written."""

from ..datasets.coco_json import category_names
from .building import unforeseen
from .collecting import check_collecting
from .data import check_data, classes_of_data
from .images import skip_bad_images
from .model import build_model, check_model
from .reading import load_config
from .registries import check_types
from .samples import check_samples
from .teacher import check_agreement, check_cache, map_classes
from .training import check_surroundings, check_training
from .weights import check_weights

__all__ = [
    'build_model',
    'category_names',
    'check_agreement',
    'check_cache',
    'check_collecting',
    'check_data',
    'check_model',
    'check_samples',
    'check_surroundings',
    'check_training',
    'check_types',
    'check_weights',
    'classes_of_data',
    'load_config',
    'map_classes',
    'skip_bad_images',
    'unforeseen',
]
