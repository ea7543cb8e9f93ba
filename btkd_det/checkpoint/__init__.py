"""Reading checkpoints: weights only, and an error that says what is wrong with the file."""

from .fitting import find_misfits, load_weights
from .host_reading import weights_only
from .loading import allow_mmengine_types
from .reading import class_names, read_checkpoint, read_content, state_of

__all__ = [
    'allow_mmengine_types',
    'class_names',
    'find_misfits',
    'load_weights',
    'read_checkpoint',
    'read_content',
    'state_of',
    'weights_only',
]
