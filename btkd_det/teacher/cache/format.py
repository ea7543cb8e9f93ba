"""The file of a teacher's logits: what it says of itself, and the data that it goes with."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoint.writing import atomic_path
from ...checks import check_file
from ...errors import ConfigError
from ...provenance import (
    OF_TEACHER,
    check_content,
    content_digest,
)

FORMAT = 'btkd_det teacher cache 2'
COMMAND = 'tools/cache_teacher.py'

# What the header holds of the data, with the words for it.
OF_DATA = {
    'dataset': 'the data set',
    'count': 'the number of images',
    'num_classes': 'the number of classes',
    'classes': 'the class names (their SHA-256)',
    'labels': 'the labels in their order (their SHA-256)',
    'images': 'the images (the SHA-256 of some of them)',
    'views': 'the augmented views',
    'pixels': 'the transforms without augmentation',
}


def write_cache(path: str | Path, logits: Tensor, header: dict[str, Any]) -> None:
    """Write a teacher's logits.

    Args:
        path (str | Path): The file; its folder is made.
        logits (Tensor): (K, N, C), saved as float16: view, image, class.
        header (dict): The entries that :data:`OF_DATA` and
            :data:`btkd_det.provenance.OF_TEACHER` name.
    """
    logits = logits.half().contiguous()
    header = {key: header[key] for key in (*OF_DATA, *OF_TEACHER)}
    header['content'] = content_digest(logits)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # What is read under the file's own name is whole, whenever writing stops.
    with atomic_path(path, Path(f'{path}.unfinished')) as unfinished:
        torch.save(dict(format=FORMAT, header=header, logits=logits), unfinished)


def read_cache(path: str | Path, field: str = 'teacher.cache') -> tuple[Tensor, dict[str, Any]]:
    """Read what :func:`write_cache` wrote, weights only; the logits stay on disk until read.

    Args:
        path (str | Path): The file.
        field (str): Where ``path`` stands in the config.

    Returns:
        tuple[Tensor, dict]: Logits, (K, N, C) float16, mapped into memory; and the header.

    Raises:
        ConfigError: The file is missing, is no such file, or contradicts its own header.
    """
    check_file(field, path, f'a file that {COMMAND} wrote')
    try:
        stored = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f'{field}: {path} is no cache that can be read ({reason}); '
            'tools/cache_teacher.py writes one'
        ) from error
    if not isinstance(stored, dict) or stored.get('format') != FORMAT:
        found = stored.get('format') if isinstance(stored, dict) else type(stored).__name__
        raise ConfigError(
            f'{field}: {path} is no cache of this version (format {found!r}); valid: {FORMAT!r}, '
            'as tools/cache_teacher.py writes it'
        )
    logits, header = stored.get('logits'), stored.get('header')
    if not isinstance(header, dict) or not {*OF_DATA, *OF_TEACHER, 'content'} <= set(header):
        raise ConfigError(f'{field}: the header of {path} is incomplete; write the file anew')
    views = 1 if header['views'] is None else header['views']['views']
    shape = (views, header['count'], header['num_classes'])
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != shape:
        raise ConfigError(f'{field}: {path} has no logits of {shape}; write the file anew')
    check_content(header, [logits], path, field, COMMAND)
    return logits, header


def check_header(
    header: dict[str, Any], found: dict[str, Any], path: str | Path, field: str = 'teacher.cache'
) -> None:
    """Hold a cache's header against the data that it is to be used with.

    Args:
        header (dict): Of the cache.
        found (dict): Of :func:`~btkd_det.teacher.cache.data.describe_data`, or some of its entries.
        path (str | Path): The cache.
        field (str): Where ``path`` stands in the config.

    Raises:
        ConfigError: They differ.
    """
    for key, what in OF_DATA.items():
        if key in found and header[key] != found[key]:
            raise ConfigError(
                f'{field}: {path} was written for other training data: {what}: '
                f'{header[key]!r} there, {found[key]!r} here; valid is a cache of this config, '
                f'which {COMMAND} writes'
            )
