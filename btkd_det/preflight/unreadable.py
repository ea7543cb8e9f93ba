"""An image that cannot be read, found while the data are walked through."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from torch.utils.data import Subset

from ..config.reading import innermost_dataset
from ..datasets.skip_bad_images import is_bad_image
from ..errors import ConfigError
from .images import find_bad_images

Batch = TypeVar('Batch')


def readable(
    batches: Iterable[Batch], dataset: Any, described: dict[str, Any], field: str
) -> Iterator[Batch]:
    """Batches of a data loader; an image that cannot be read ends them with one line.

    The checks before look into as many files as a few seconds allow, and know the files of COCO's
    and VOC's formats alone.

    Args:
        batches (Iterable): As MMEngine's data loaders give them.
        dataset (Dataset): What they are of, to find which image it was.
        described (dict): Its config: how its pipeline reads images.
        field (str): Where the data stand in the config.

    Yields:
        object: Each batch.

    Raises:
        ConfigError: An image cannot be read, named by its path where that can be told.
    """
    try:
        yield from batches
    except Exception as error:  # a decoder's own errors share no base
        if not is_bad_image(error):
            raise
        raise ConfigError(
            f'{field}: {_first_bad(dataset, described) or _last_line(error)}; valid: images that '
            'OpenCV or Pillow can read'
        ) from error


def _first_bad(dataset: Any, described: dict[str, Any]) -> str:
    """Path of the first image that is bad, why, and how many are; empty where none is found."""
    if isinstance(dataset, Subset):
        dataset = dataset.dataset
    if not hasattr(dataset, 'get_data_info') or not hasattr(dataset, '__len__'):
        return ''
    infos = map(dataset.get_data_info, range(len(dataset)))
    paths = [info['img_path'] for info in infos if isinstance(info.get('img_path'), str)]
    bad, _ = find_bad_images(paths, innermost_dataset(described) or {})
    return next(
        (f'{path}: {why} ({len(bad)} of {len(paths)} images are bad)' for path, why in bad.items()),
        '',
    )


def _last_line(error: Exception) -> str:
    """What happened; of a data loader's worker the error comes with its whole traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:400]
