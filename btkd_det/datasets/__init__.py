"""Data for classification: image sets kept in memory, and Tiny-ImageNet as it is shipped."""

from .image_files import check_image_files
from .in_memory_images import InMemoryImages
from .skip_bad_images import SkipBadImages
from .tiny_imagenet import TinyImageNet

__all__ = ['InMemoryImages', 'SkipBadImages', 'TinyImageNet', 'check_image_files']
