"""The former place of :mod:`btkd_det.teacher.cache`."""

from .provenance import file_digest
from .teacher.cache.data import (
    ImageSet,
    describe_data,
    describe_images,
    find_dataset,
    fixed_pipeline,
    is_augmented,
    kept_classes,
    view_settings,
)
from .teacher.cache.format import (
    COMMAND,
    FORMAT,
    OF_DATA,
    check_header,
    read_cache,
    write_cache,
)

__all__ = [
    'COMMAND',
    'FORMAT',
    'OF_DATA',
    'ImageSet',
    'check_header',
    'describe_data',
    'describe_images',
    'file_digest',
    'find_dataset',
    'fixed_pipeline',
    'is_augmented',
    'kept_classes',
    'read_cache',
    'view_settings',
    'write_cache',
]
