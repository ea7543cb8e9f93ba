"""Are the images there, and are they images? Found from a few bytes of each."""

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmengine.config import Config
from mmengine.logging import print_log

from ..checks import check_choice
from ..config.named_types import is_type
from ..config.reading import type_name
from ..errors import ConfigError
from .confined import check_confined

ACTIONS = ('error', 'skip')
# How long to look into files, in seconds for each data set: a network drive takes its time.
CHECK_SECONDS = 20
DECODE_SECONDS = 5
STARTS = (b'\xff\xd8\xff', b'\x89PNG', b'BM', b'RIFF', b'II*\0', b'MM\0*', b'GIF8', b'\0\0\0\x0cjP')


def on_bad_image(cfg: Config) -> str:
    """The config's ``on_bad_image``: ``'error'`` or ``'skip'``.

    Raises:
        ConfigError: It is something else.
    """
    action = cfg.get('on_bad_image', 'error')
    check_choice('on_bad_image', action, ACTIONS)
    return action


def check_images(paths: list, dataset: dict, field: str, action: str) -> None:
    """Look for every image of a data set, and into as many as time allows.

    Args:
        paths (list[str]): The images that the data set uses.
        dataset (dict): Its config: how its pipeline reads images.
        field (str): Where it stands in the config.
        action (str): What to do where images are bad: ``'error'`` or ``'skip'``. Data that a
            model is evaluated on cannot be skipped: the result would be of other data.

    Raises:
        ConfigError: An image is missing, no file, empty, or cannot be decoded; with ``'skip'``
            only where all are.
    """
    check_confined(paths, dataset, field)
    bad, cut = find_bad_images(paths, dataset)
    for path, reason in list(cut.items())[:1]:
        print_log(
            f'{field}: {path}: {reason} ({len(cut)} of {len(paths)} images are so)',
            'current',
            level=30,
        )
    if not bad:
        return
    path, reason = next(iter(bad.items()))
    message = f'{field}: {path}: {reason} ({len(bad)} of {len(paths)} images cannot be used'
    trains = can_skip(dataset, field)
    if action == 'error' or not trains:
        option = "; on_bad_image='skip' trains without them" if trains else ''
        raise ConfigError(f'{message}); valid: images that OpenCV or Pillow can read{option}')
    if len(bad) == len(paths):
        raise ConfigError(f'{message}); valid: at least one image to train on')
    print_log(f"{message}): on_bad_image='skip' leaves them out", 'current', level=30)


def can_skip(dataset: dict[str, Any], field: str) -> bool:
    """Whether bad images of a data set can be left out.

    Args:
        dataset (dict): Its config.
        field (str): Where it stands in the config.

    Returns:
        bool: Only of training: an evaluation would be of other data. MMEngine's data sets give no
        other image in test mode.
    """
    evaluates = field.startswith(('val_dataloader', 'test_dataloader'))
    return not evaluates and not dataset.get('test_mode')


def find_bad_images(paths: list, dataset: dict) -> tuple[dict, dict]:
    """Images that cannot be read, and JPEG files that end too early but can.

    Args:
        paths (list[str]): The images.
        dataset (dict): The config of their data set.

    Returns:
        tuple[dict[str, str], dict[str, str]]: Path to what is wrong with it, for both kinds.
    """
    decode = _decoder(dataset.get('pipeline') or ())
    bad, cut, listed = {}, {}, {}
    end, left = time.monotonic() + CHECK_SECONDS, DECODE_SECONDS
    for path in dict.fromkeys(paths):
        reason = _no_file(path, listed)
        if reason is None and time.monotonic() < end:
            whole = _is_whole(path)
            if whole is True or (whole is None and left <= 0):
                continue
            start = time.monotonic()
            reason = decode(path)
            left -= time.monotonic() - start
            if reason is None and whole is False:
                cut[path] = 'ends too early, what is missing is filled with gray'
        if reason is not None:
            bad[path] = reason
    return bad, cut


def _no_file(path: str | Path, listed: Any) -> Any:
    """Why there is no file to open at a path, or None; a folder is listed once."""
    folder, name = os.path.split(path)
    if folder not in listed:
        try:
            with os.scandir(folder or '.') as entries:
                listed[folder] = {e.name for e in entries if _is_plain_file(e)}
        except OSError:
            listed[folder] = set()
    if name in listed[folder]:
        return None
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return 'no such file' if not os.path.islink(path) else 'a link to nowhere'
    except (OSError, ValueError) as error:
        return getattr(error, 'strerror', None) or str(error)
    if stat.S_ISREG(mode):
        return None
    return 'a folder' if stat.S_ISDIR(mode) else 'no regular file'


def _is_plain_file(entry: Any) -> Any:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _is_whole(path: str | Path) -> bool | bool | None:
    """Whether start and end are those of a JPEG or PNG file; None where only the start is known."""
    try:
        with open(path, 'rb') as file:
            start = file.read(16)
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64))
            end = file.read()
    except OSError:
        return False
    if start.startswith(b'\xff\xd8\xff'):
        return b'\xff\xd9' in end
    if start.startswith(b'\x89PNG'):
        return b'IEND' in end
    return None if start.startswith(STARTS) else False


def decoding_options(pipeline: Sequence[dict[str, Any]]) -> dict[str, str]:
    """How a pipeline decodes images, as ``mmcv.imfrombytes`` takes it.

    Args:
        pipeline (Sequence[dict]): Transforms of a config.

    Returns:
        dict[str, str]: ``flag`` and ``backend``.
    """
    loading = next((t for t in pipeline if type_name(t).endswith('LoadImageFromFile')), {})
    return dict(
        flag=loading.get('color_type', 'color'), backend=loading.get('imdecode_backend', 'cv2')
    )


def _decoder(pipeline: Any) -> Any:
    """A function that says why an image cannot be decoded as the pipeline will, or None."""
    options = decoding_options(pipeline)

    def decode(path: str | Path) -> str | None:
        try:
            content = Path(path).read_bytes()
            if not content:
                return 'an empty file'
            image = mmcv.imfrombytes(content, **options)
        except Exception as error:  # a decoder's own errors share no base
            return f'cannot be decoded: {type(error).__name__}'
        if image is not None:
            return None
        if content.startswith(STARTS):
            return 'damaged or cut off: cannot be decoded'
        return f'no image: starts with {content[:12]!r}'

    return decode


def skip_bad_images(cfg: Config) -> None:
    """With ``on_bad_image='skip'``, put the pipelines of training into a ``SkipBadImages``.

    Args:
        cfg (Config): The whole config, changed in place.
    """
    if on_bad_image(cfg) != 'skip' or not cfg.get('train_dataloader'):
        return
    _wrap(cfg.train_dataloader.get('dataset'), 'pipeline')
    for hook in cfg.get('custom_hooks') or ():
        if type_name(hook) == 'PipelineSwitchHook':
            _wrap(hook, 'switch_pipeline')
    given = dict(cfg.get('custom_imports') or {})
    names = given.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    if 'btkd_det' not in names:
        cfg.custom_imports = dict(given, imports=[*names, 'btkd_det'])


def _wrap(node: Any, key: str) -> None:
    if not isinstance(node, dict):
        return
    transforms = node.get(key)
    skips = transforms and is_type(transforms[0], 'btkd_det', 'SkipBadImages')
    # In test mode no other image would come in its place.
    if transforms and not skips and not node.get('test_mode'):
        node[key] = [dict(type='btkd_det.SkipBadImages', transforms=transforms)]
    _wrap(node.get('dataset'), key)
    for part in node.get('datasets') or ():
        _wrap(part, key)
