"""Reading a checkpoint from a file or an address, with an error that says what is wrong with it."""

import os
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import check_file
from ..errors import ConfigError
from .download import downloaded
from .loading import allow_mmengine_types, first_line, forced_weights_only, refusal


def read_checkpoint(source: str | Path, field: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint from a file or an address, weights only.

    Args:
        source (str | Path): A path; an ``http(s)://`` address, see
            :func:`~btkd_det.checkpoint.download.downloaded`; or another of MMEngine's addresses,
            such as ``torchvision://resnet50``.
        field (str): Where ``source`` stands in the config, for the error message.

    Returns:
        tuple[dict[str, Tensor], dict]: The state dict on the CPU, and the checkpoint's ``meta``
        (empty where there is none).

    Raises:
        ConfigError: There is no such file, it cannot be downloaded, it is no checkpoint, or it
            holds objects that would have to be executed to be read.
    """
    checkpoint = read_content(source, field)
    meta = checkpoint.get('meta')
    return state_of(checkpoint, source, field), meta if isinstance(meta, dict) else {}


def read_content(source: str | Path, field: str) -> dict[str, Any]:
    """Read all that a checkpoint holds, weights only.

    Args:
        source (str | Path): As in :func:`read_checkpoint`.
        field (str): Where ``source`` stands in the config.

    Returns:
        dict: As it was saved.

    Raises:
        ConfigError: As in :func:`read_checkpoint`.
    """
    allow_mmengine_types()
    source = str(source)
    read = _download if '://' in source else _read_file
    checkpoint = read(source, field)
    if not isinstance(checkpoint, dict):
        raise ConfigError(
            f'{field}: {source} holds a {type(checkpoint).__name__}, not a checkpoint; '
            "expected a dict with 'state_dict', as MMEngine saves it, or a state dict"
        )
    return checkpoint


def state_of(
    checkpoint: dict[str, Any], source: str | Path, field: str
) -> OrderedDict[str, Tensor]:
    """The weights of a checkpoint.

    Args:
        checkpoint (dict): Its content.
        source (str | Path): Where it was read.
        field (str): Where ``source`` stands in the config.

    Returns:
        OrderedDict[str, Tensor]: The weights, without the prefix of a parallel model's wrapper;
        its ``_metadata`` has the versions of the modules, where the checkpoint tells them.

    Raises:
        ConfigError: There are none.
    """
    given = checkpoint.get('state_dict', checkpoint)
    if not isinstance(given, dict):
        raise ConfigError(
            f'{field}: {source} holds a state_dict that is a {type(given).__name__}; valid is a '
            'dict of weights by their names'
        )
    unnamed = [key for key in given if not isinstance(key, str)]
    if unnamed:
        raise ConfigError(
            f'{field}: {source} has the key {unnamed[0]!r} among its weights; valid are names'
        )
    state = OrderedDict(
        (key.removeprefix('module.'), value)
        for key, value in given.items()
        if isinstance(value, torch.Tensor)
    )
    if not state:
        raise ConfigError(
            f'{field}: {source} holds no weights; its keys are '
            f'{", ".join(map(str, list(checkpoint)[:8])) or "none"}'
        )
    versions = getattr(given, '_metadata', None)
    if isinstance(versions, dict):
        state._metadata = {
            key.removeprefix('module').removeprefix('.'): value
            for key, value in versions.items()
            if isinstance(key, str) and isinstance(value, dict)
        }
    return state


def class_names(meta: dict[str, Any]) -> tuple[str, ...] | None:
    """Class names in a checkpoint's ``meta``, by MMDetection 3's or 2's key, in any case.

    Args:
        meta (dict): Of a checkpoint.

    Returns:
        tuple[str] | None: The names, where there are any; ``None`` as well where something else
        is in their place.
    """
    data = meta.get('dataset_meta')
    # Release candidates of MMDetection 3 wrote dataset_meta with MMDetection 2's key.
    named = (
        {str(key).lower(): value for key, value in data.items()} if isinstance(data, dict) else {}
    )
    names = named.get('classes', meta.get('CLASSES'))
    if isinstance(names, str):
        names = [names]
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, (str, int)) for n in names):
        return None
    return tuple(names) or None


def _read_file(path: str | Path, field: str) -> Any:
    # As MMEngine reads it.
    path = os.path.expanduser(path)
    valid = "the path of a checkpoint, an http(s) address, or a teacher's 'pretrained' (model zoo)"
    check_file(field, path, valid + _beside(Path(path)))
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except (UnpicklingError, ConfigError) as error:
        raise ConfigError(
            f'{field}: {path} is not read, because it {refusal(_cause(error))}. Valid is a '
            'checkpoint of tensors and plain values'
        ) from error
    except Exception as error:  # a file can hold anything
        raise ConfigError(
            f'{field}: {path} cannot be read as a checkpoint: {first_line(error)}'
        ) from error


def _beside(path: Path) -> str:
    """The newest checkpoint in the folder of one that is not there."""
    if path.is_file() or not path.parent.is_dir():
        return ''
    others = [other for other in path.parent.glob('*.pth') if other.is_file()]
    newest = max(others, key=lambda other: other.stat().st_mtime, default=None)
    return '' if newest is None else f'; the newest there is {newest.name}'


def _download(address: Any, field: str) -> Any:
    try:
        if address.startswith(('http://', 'https://')):
            return torch.load(downloaded(address), map_location='cpu', weights_only=True)
        from mmengine.runner import CheckpointLoader

        with forced_weights_only():
            return CheckpointLoader.load_checkpoint(address, map_location='cpu')
    except (UnpicklingError, ConfigError) as error:
        raise ConfigError(
            f'{field}: {address} is not read, because it {refusal(_cause(error))}'
        ) from error
    except Exception as error:  # a network can answer anything
        raise ConfigError(
            f'{field}: {address} could not be downloaded: {first_line(error)}. Download it where '
            'there is a network and give the path of the file'
        ) from error


def _cause(error: Exception) -> Any:
    """The unpickler's own error, where ``torch.load`` has made a ConfigError of it."""
    return error.__cause__ if isinstance(error, ConfigError) else error
