"""The papers' classification recipes: whole MMEngine configs, made from one place."""

from .config_text import config_text, file_name
from .methods import METHODS, PLAIN, find_method
from .protocols import DATASETS, EVERY_DATASET, Protocol, find_protocol
from .recipe import combinations, recipe, trained_teacher

__all__ = [
    'DATASETS',
    'EVERY_DATASET',
    'METHODS',
    'PLAIN',
    'Protocol',
    'combinations',
    'config_text',
    'file_name',
    'find_method',
    'find_protocol',
    'recipe',
    'trained_teacher',
]
