"""Files from addresses, kept so that each is the one that its address gives."""

import hashlib
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import torch
from mmengine.logging import print_log

from .writing import atomic_path

#: What a server says that tells one state of a file from the next.
_STATE = ('ETag', 'Last-Modified', 'Content-Length')
#: As PyTorch and OpenMMLab put a file's hash into its name: ``resnet50-0676ba61.pth``.
_HASHED = re.compile(r'[-_][0-9a-f]{8,64}\.[A-Za-z0-9.]+$')
TIMEOUT = 30


def downloaded(address: str) -> Path:
    """The file of an address, downloaded unless it is there already.

    It lies in PyTorch's hub cache: by its name alone where that has the file's hash in it, else by
    a hash of the address and of what the server says of the file's state, so that neither another
    address with the same file name nor a file that was replaced gives an old one's weights. A
    server that tells no state is asked for the file each time; one that cannot be reached leaves
    the newest file of the address, with a warning.

    Args:
        address (str): Of http or https.

    Returns:
        Path: The file.

    Raises:
        OSError: It cannot be downloaded, and was not before.
    """
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    name = Path(unquote(urlparse(address).path)).name or 'checkpoint'
    if _HASHED.search(name):
        path = folder / name
        return path if path.is_file() else _fetched(address, path)
    stem = f'{Path(name).stem}-{_short(address)}'
    try:
        state = _state(address)
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        kept = sorted(folder.glob(f'{stem}-*'), key=lambda path: path.stat().st_mtime_ns)
        if not kept:
            raise
        print_log(
            f'{address} cannot be reached ({error}); the file of the last time is used: {kept[-1]}',
            'current',
            logging.WARNING,
        )
        return kept[-1]
    path = folder / f'{stem}-{_short(state or "unknown")}{Path(name).suffix}'
    return path if state and path.is_file() else _fetched(address, path)


def _state(address: Any) -> Any:
    """What the server says of the file, without reading it; empty where it says no state."""
    with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
        stated = {name: answer.headers.get(name) for name in _STATE}
    known = stated['ETag'] or stated['Last-Modified']
    return '\n'.join(f'{name}: {value}' for name, value in stated.items()) if known else ''


def _fetched(address: Any, path: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
        size = answer.headers.get('Content-Length')
    with atomic_path(path) as part:
        torch.hub.download_url_to_file(address, str(part))
        found = part.stat().st_size
        if size is not None and found != int(size):
            raise OSError(f'the connection broke off after {found} of {size} bytes')
    return path


def _short(text: Any) -> Any:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
