"""The options of data loaders, held against PyTorch's own checks, and their batches."""

from typing import Any

from mmengine import registry as root
from torch.utils.data import DataLoader, Sampler

from ..checks import check_known_keys, check_whole
from ..errors import ConfigError
from .building import ERRORS, build_part, cannot_build, explain_keys
from .registries import find_type, signature_names

# What MMEngine takes out of a loader's config before the rest goes to PyTorch.
OWN_KEYS = ('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn')
OWN_KEYS += ('num_batch_per_epoch', 'disable_subprocess_warning', 'pin_memory_device')


class _Stand:
    """As long as the data set, and empty: samplers and loaders ask no more before they start."""

    metainfo = {}

    def __init__(self, length: Any) -> None:
        self.length = length

    def __len__(self) -> Any:
        return self.length

    def __getitem__(self, index: Any) -> None:
        raise IndexError(index)


def check_loader(loader: dict, field: str, scope: str, length: int | None = None) -> int | None:
    """Build a data loader around nothing.

    Args:
        loader (dict): Its config.
        field (str): Where it stands.
        scope (str): The default scope.
        length (int, optional): The number of samples, where it is known.

    Returns:
        int | None: The number of batches of an epoch, where it is known.

    Raises:
        ConfigError: A key that PyTorch does not know, a value that it refuses, or no batch.
    """
    if not isinstance(loader, dict):
        return None
    _check_keys(loader, field)
    stand = _Stand(length or 1000)
    sampler = _build(loader['sampler'], f'{field}.sampler', scope, dataset=stand, seed=0)
    size = loader.get('batch_size', 1)
    check_whole(f'{field}.batch_size', size, least=1)
    workers = loader.get('num_workers', 0)
    check_whole(f'{field}.num_workers', workers, least=0)
    options = {k: v for k, v in loader.items() if k not in OWN_KEYS}
    batches = None
    if isinstance(loader.get('batch_sampler'), dict):
        options.pop('batch_size', None)
        place = f'{field}.batch_sampler'
        batches = _build(
            loader['batch_sampler'], place, scope, sampler=sampler or stand, batch_size=size
        )
    try:
        if batches is None:
            made = DataLoader(stand, sampler=sampler, **options)
        else:
            made = DataLoader(stand, batch_sampler=batches, **options)
    except ERRORS as error:
        raise cannot_build(field, error) from error
    # Of a sampler that could not be made, the number of images is not known either.
    return _check_batches(loader, field, made, length if sampler is not None else None)


def _check_keys(loader: str, field: str) -> None:
    for name in ('dataset', 'sampler'):
        if loader.get(name) is None:
            raise ConfigError(f'{field}.{name}: missing; valid: dict(type=..., ...)')
    if 'batch_size' not in loader:
        raise ConfigError(f'{field}.batch_size: missing; valid: the number of images in a batch')
    valid = [*OWN_KEYS, *signature_names(DataLoader)]
    check_known_keys(field, loader, valid)


def _build(node: Any, field: str, scope: str, **given: Any) -> Any:
    """A sampler around a stand-in; None where it asks more of its data set than a length."""
    if not isinstance(node, dict):
        listed = isinstance(node, (list, tuple)) and all(isinstance(i, int) for i in node)
        if not listed and not isinstance(node, Sampler):
            raise ConfigError(f'{field}: {node!r}; valid: dict(type=..., ...)')
        return node
    try:
        return build_part(node, root.DATA_SAMPLERS, field, scope, **given)
    except ConfigError:
        kind = find_type(node, root.DATA_SAMPLERS, field, scope)
        explain_keys(kind, {**given, **node}, field)
        if str(getattr(kind, '__module__', '')).startswith('mmengine.'):
            raise
        return None


def _check_batches(loader: str, field: str, made: Any, length: Any) -> int | None:
    if not length:
        return None
    size = loader['batch_size']
    batch_sampler = loader.get('batch_sampler') or {}
    drops = loader.get('drop_last') or batch_sampler.get('drop_last')
    if drops and length < size:
        place = 'drop_last' if loader.get('drop_last') else 'batch_sampler.drop_last'
        raise ConfigError(
            f'{field}.{place}: leaves no batch, the data set has {length} images and batch_size '
            f'is {size}; valid: drop_last=False, or a batch_size of at most {length}'
        )
    try:
        return len(made)
    except (TypeError, NotImplementedError, AttributeError):
        return None
