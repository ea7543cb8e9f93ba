"""What a derived file (a teacher's logits, its class means) says of where it comes from.

A file that a teacher's answers were written to is right for one teacher and one set of data. Its
header holds digests of both and of its own content, and whatever reads it holds them against what
is in use.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from .checkpoint.download import downloaded
from .config.reading import type_name
from .errors import ConfigError

#: What a header holds of the teacher, with the words for it.
OF_TEACHER = {
    'checkpoint': 'the checkpoint',
    'checkpoint_sha256': "the checkpoint's SHA-256",
    'teacher_config': "the teacher's config (network and normalization, their SHA-256)",
    'dtype': "the teacher's dtype",
    'class_map': "the teacher's class_map",
}

#: Keys of a model's config that say how it is trained or where it starts, not what it answers.
_NO_ANSWER = {
    '_scope_',
    'batch_augments',
    'distill',
    'frozen_stages',
    'init_cfg',
    'mixed',
    'norm_eval',
    'pretrained',
    'teacher',
    'test_cfg',
    'train_cfg',
    'with_cp',
}

#: Images whose content stands for all of a data set's.
SAMPLE = 16

# Files whose content was held against their headers: hashing gigabytes takes seconds.
_intact = set()


def digest(value: Any) -> str:
    """SHA-256 of a value that JSON can hold, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            found.update(block)
    return found.hexdigest()


def content_digest(*tensors: Tensor) -> str:
    """SHA-256 of tensors' shapes and values, in hexadecimal.

    Args:
        *tensors (Tensor): On the CPU, of any shape.

    Returns:
        str: The digest.
    """
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f'{tensor.dtype} {tuple(tensor.shape)}'.encode())
        found.update(memoryview(tensor.detach().contiguous().numpy().reshape(-1)).cast('B'))
    return found.hexdigest()


def config_digest(model: dict[str, Any]) -> str:
    """SHA-256 of what a model's config says of its answers, in hexadecimal.

    Network and normalization count; what only training reads, and whether the model is the plain
    class or the distilled one, does not.

    Args:
        model (dict): The ``model`` of a config, its ``data_preprocessor`` in it.

    Returns:
        str: The digest.
    """
    return digest({key: _plain(value) for key, value in model.items() if _answers(key, top=True)})


def sample_digest(dataset: Dataset, indices: Sequence[int] | None = None) -> str:
    """SHA-256 of the content of some images of a data set, in hexadecimal.

    Files are hashed as they lie on disk, images in memory by their pixels; no transform runs.

    Args:
        dataset (Dataset): With ``get_data_info``.
        indices (Sequence[int], optional): The images that count. Defaults to all.

    Returns:
        str: Of :data:`SAMPLE` images at equal distances.
    """
    indices = range(len(dataset)) if indices is None else indices
    found = hashlib.sha256()
    for place in np.linspace(0, len(indices) - 1, min(SAMPLE, len(indices))).astype(int):
        found.update(_content(dataset.get_data_info(int(indices[place]))))
    return found.hexdigest()


def describe_teacher(
    model: dict[str, Any],
    checkpoint: str | Path,
    dtype: str | None = None,
    class_map: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What a header has to say of a teacher.

    Args:
        model (dict): The ``model`` of its config, its ``data_preprocessor`` in it.
        checkpoint (str | Path): A path, or an http(s) address that was downloaded before.
        dtype (str, optional): What it computes in.
        class_map (Sequence[int], optional): See :class:`btkd_det.models.Teacher`.

    Returns:
        dict: The entries of :data:`OF_TEACHER`.
    """
    return dict(
        checkpoint=str(checkpoint),
        checkpoint_sha256=file_digest(checkpoint_file(checkpoint)),
        teacher_config=config_digest(model),
        dtype=dtype,
        class_map=None if class_map is None else [int(index) for index in class_map],
    )


def checkpoint_file(source: str | Path) -> Path:
    """Where a checkpoint lies on this machine.

    Args:
        source (str | Path): A path, or an http(s) address.

    Returns:
        Path: The file, in PyTorch's hub cache for an address. A path need not exist.
    """
    if str(source).startswith(('http://', 'https://')):
        return downloaded(str(source))
    return Path(source)


def check_teacher(
    header: dict[str, Any], found: dict[str, Any], path: str | Path, field: str, command: str
) -> None:
    """Hold a file's header against the teacher that is in use.

    Args:
        header (dict): Of the file.
        found (dict): Some of the entries of :func:`describe_teacher`; the place of the checkpoint
            does not count.
        path (str | Path): The file.
        field (str): Where ``path`` stands in the config.
        command (str): What writes the file.

    Raises:
        ConfigError: They differ.
    """
    for key, what in OF_TEACHER.items():
        if key != 'checkpoint' and key in found and header.get(key) != found[key]:
            raise ConfigError(
                f'{field}: {path} was written with another teacher: {what}: {header.get(key)!r} '
                f'there, {found[key]!r} here; valid is a file of this teacher, which {command} '
                'writes'
            )


def check_content(
    header: dict[str, Any], tensors: Sequence[Tensor], path: str | Path, field: str, command: str
) -> None:
    """Hold a file's tensors against the digest in its header, once a process for each file.

    Args:
        header (dict): Of the file.
        tensors (Sequence[Tensor]): What it holds.
        path (str | Path): The file.
        field (str): Where ``path`` stands in the config.
        command (str): What writes the file.

    Raises:
        ConfigError: The file was changed or damaged after it was written.
    """
    state = Path(path).stat()
    key = str(Path(path).resolve()), state.st_mtime_ns, state.st_size, header.get('content')
    if key in _intact:
        return
    if content_digest(*tensors) != header.get('content'):
        raise ConfigError(
            f'{field}: {path} is damaged: its values are not those that {command} wrote (their '
            'SHA-256 differs); write the file anew'
        )
    _intact.add(key)


def _answers(key: str, top: bool = False) -> bool:
    """Whether a key of a model's config has a part in what the model answers."""
    if top and key == 'type':
        return False
    return key not in _NO_ANSWER and not str(key).startswith('loss')


def _plain(node: Any) -> Any:
    """A part of a config as JSON holds it, types by their names alone."""
    if isinstance(node, dict):
        plain = {str(key): _plain(value) for key, value in node.items() if _answers(key)}
        return plain | (dict(type=type_name(node)) if 'type' in node else {})
    if isinstance(node, (list, tuple)):
        return [_plain(value) for value in node]
    # 255 and 255.0 normalize alike.
    return float(node) if isinstance(node, int) and not isinstance(node, bool) else node


def _content(info: Any) -> Any:
    """The bytes of an image, in memory or in a file."""
    image = info.get('img')
    if image is not None:
        return np.ascontiguousarray(image).tobytes()
    path = info.get('img_path')
    if path is None:
        return b''
    from mmengine.fileio import get

    try:
        return get(path)
    except OSError:
        # Whoever loads the image says what is wrong with it.
        return b'missing'
