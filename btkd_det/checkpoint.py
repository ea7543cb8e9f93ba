"""Reading checkpoints: weights only, and an error that says what is wrong with the file."""

import contextlib
import os
import re
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from .errors import ConfigError


def allow_mmengine_types():
    """Let ``weights_only`` loading accept what MMEngine itself writes into a checkpoint.

    These are NumPy arrays and scalars and MMEngine's record of the logged values: plain data,
    none of which runs code when it is read.
    """
    core = getattr(np, '_core', None) or np.core
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            _method_of_history_buffer,
            np.ndarray,
            np.dtype,
            core.multiarray._reconstruct,
            core.multiarray.scalar,
            *{type(np.dtype(code)) for code in '?bBhHiIlLqQefd'},
        ]
    )


def _method_of_history_buffer(owner, name):
    """Stands in for ``getattr``, by which a history buffer's own methods are pickled."""
    if owner is not HistoryBuffer:
        raise UnpicklingError(f'Unsupported global: GLOBAL getattr of {owner}')
    return getattr(owner, name)


# The name under which the unpickler looks it up.
_method_of_history_buffer.__module__ = 'builtins'
_method_of_history_buffer.__name__ = _method_of_history_buffer.__qualname__ = 'getattr'


@contextlib.contextmanager
def weights_only():
    """Within this context every ``torch.load``, of the host packages too, reads weights only.

    MMEngine falls back to full unpickling where a checkpoint is refused, or never asks for
    weights only, by version; the environment variable that PyTorch reads overrules both.
    """
    name = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
    before = os.environ.get(name)
    os.environ[name] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def read_checkpoint(source, field):
    """Read a checkpoint from a file or an address, weights only.

    Args:
        source (str | Path): A path, or an ``http(s)://`` address, which is downloaded once
            into PyTorch's hub cache.
        field (str): Where ``source`` stands in the config, for the error message.

    Returns:
        tuple[dict[str, Tensor], dict]: The state dict on the CPU, and the checkpoint's ``meta``
        (empty where there is none).

    Raises:
        ConfigError: There is no such file, it cannot be downloaded, it is no checkpoint, or it
            holds objects that would have to be executed to be read.
    """
    allow_mmengine_types()
    source = str(source)
    if source.startswith(('http://', 'https://')):
        checkpoint = _download(source, field)
    else:
        checkpoint = _read_file(source, field)
    if not isinstance(checkpoint, dict):
        raise ConfigError(
            f'{field}: {source} holds a {type(checkpoint).__name__}, not a checkpoint; '
            "expected a dict with 'state_dict', as MMEngine saves it, or a state dict"
        )
    meta = checkpoint.get('meta')
    state = checkpoint.get('state_dict', checkpoint)
    state = {
        key.removeprefix('module.'): value
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    if not state:
        raise ConfigError(
            f'{field}: {source} holds no weights; its keys are '
            f'{", ".join(map(str, list(checkpoint)[:8])) or "none"}'
        )
    return state, meta if isinstance(meta, dict) else {}


def load_weights(model, source, field):
    """Load all weights of ``model`` from a checkpoint, or say what does not fit.

    Keys under ``distill.`` in the checkpoint (what distillation learned) are passed over, so
    that a distilled student loads into its plain model.

    Args:
        model (nn.Module): Takes the weights.
        source (str | Path): As in :func:`read_checkpoint`.
        field (str): Where ``source`` stands in the config.

    Returns:
        dict: The checkpoint's ``meta``.

    Raises:
        ConfigError: The file cannot be read, or its weights are of another architecture.
    """
    state, meta = read_checkpoint(source, field)
    misfits = find_misfits(model, state)
    if misfits:
        shown = '; '.join(misfits[:4])
        more = f'; and {len(misfits) - 4} more' if len(misfits) > 4 else ''
        raise ConfigError(
            f'{field}: {source} does not fit {type(model).__name__}, {len(misfits)} '
            f'differences: {shown}{more}. Valid is a checkpoint of the same architecture '
            'and the same number of classes'
        )
    model.load_state_dict(state, strict=False)
    return meta


def class_names(meta):
    """Class names in a checkpoint's ``meta``, by MMDetection 3's or 2's key.

    Args:
        meta (dict): Of a checkpoint.

    Returns:
        tuple[str] | None: The names, where there are any.
    """
    names = (meta.get('dataset_meta') or {}).get('classes', meta.get('CLASSES'))
    return tuple(names) if names else None


def find_misfits(model, state):
    """What keeps ``state`` from being the complete weights of ``model``.

    Args:
        model (nn.Module): The model.
        state (dict[str, Tensor]): A state dict.

    Returns:
        list[str]: One line for each missing or unexpected key and each differing shape; empty
        where everything fits.
    """
    own = model.state_dict()
    needed = {key for key in own if not key.startswith('distill.')}
    shapes = [
        f'{key} is {tuple(state[key].shape)} there and {tuple(own[key].shape)} in the model'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    missing = [
        f'{key} is missing there'
        for key in own
        if key in needed and key not in state and not key.endswith('num_batches_tracked')
    ]
    unexpected = [
        f'{key} is not in the model'
        for key in state
        if key not in own and not key.startswith(('distill.', 'data_preprocessor.'))
    ]
    return shapes + missing + unexpected


def _read_file(path, field):
    if not Path(path).is_file():
        raise ConfigError(
            f'{field}: no file {path} (looked in {Path.cwd()}); valid is the path of a '
            'checkpoint, an http(s) address, or for a teacher from the model zoo '
            "'pretrained'"
        )
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except UnpicklingError as error:
        raise ConfigError(
            f'{field}: {path} is not read, because it {_refusal(error)}. Valid is a checkpoint '
            'of tensors and plain values'
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f'{field}: {path} cannot be read as a checkpoint: {_first_line(error)}'
        ) from error


def _download(url, field):
    try:
        return torch.hub.load_state_dict_from_url(url, map_location='cpu', weights_only=True)
    except UnpicklingError as error:
        raise ConfigError(f'{field}: {url} is not read, because it {_refusal(error)}') from error
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f'{field}: {url} could not be downloaded: {_first_line(error)}. Download it where '
            'there is a network and give the path of the file'
        ) from error


def _refusal(error):
    found = re.search(r'Unsupported global: GLOBAL (\S+)', str(error))
    if found:
        return f'holds a {found[1]}, which would have to be executed'
    return f'is damaged or is no checkpoint ({_first_line(error)[:100]})'


def _first_line(error):
    return str(error).strip().split('\n')[0] or type(error).__name__
