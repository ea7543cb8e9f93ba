"""The papers' classification recipes: whole MMEngine configs, made from one place."""

from .config_text import config_text, file_name, read_command
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
    'read_command',
    'recipe',
    'trained_teacher',
]
