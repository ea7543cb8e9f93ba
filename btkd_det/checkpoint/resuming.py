"""Which checkpoint a training goes on from."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ..errors import ConfigError
from .reading import read_content

MARKER = 'last_checkpoint'


def newest_whole(cfg: Config) -> tuple[str | None, list[str]]:
    """The newest checkpoint of a work dir that can be read and trained on from.

    MMEngine takes what the marker ``last_checkpoint`` names; without one it begins anew, over the
    checkpoints that are there. Here the files themselves say what is there, also where the folder
    has been moved or copied: the marked one, unless another was written later and is of more
    iterations; without a marked one that written last.

    Args:
        cfg (Config): The whole config, with its ``work_dir``.

    Returns:
        tuple[str | None, list[str]]: The path, and what a user should know about the choice. None
        where no checkpoint is there.

    Raises:
        ConfigError: Checkpoints are there, and none of them can be trained on from.
    """
    folders = _folders(cfg)
    found = [path for folder in folders for path in folder.glob('*.pth') if path.is_file()]
    found = sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    marked, notes = marked_name(cfg.work_dir), []
    found = _marked_first(found, marked)
    left_out = []
    for path in found:
        reason = _reason_against(path)
        if reason is None:
            if marked != path.name:
                named = 'there is no marker' if marked is None else f'the marker names {marked!r}'
                notes.append(f'--resume goes on from {path}, the newest one there; {named}')
            return str(path), [f'--resume leaves out {name}' for name in left_out] + notes
        left_out.append(f'{path.name}: {reason}')
    unread = [line for line in left_out if 'cannot be read' in line]
    if unread:
        more = f' and {len(unread) - 3} more' if len(unread) > 3 else ''
        raise ConfigError(
            f'--resume: no checkpoint in {cfg.work_dir} can be trained on from: '
            f'{"; ".join(unread[:3])}{more}; valid: --resume CKPT, or another --work-dir to begin '
            'anew'
        )
    return None, [f'--resume finds no checkpoint in {cfg.work_dir}: the training begins']


def _marked_first(found: list[Path], marked: str | None) -> list[Path]:
    """The newest first, but of those newer than the marked one only what is further in training.

    Copying may give the files any times. What is none to train on from keeps its place, to be
    told of.
    """
    place = next((i for i, path in enumerate(found) if path.name == marked), None)
    if not place:
        return found
    done = _iterations(found[place])
    ahead = []
    for path in found[:place]:
        iterations = _iterations(path)
        further = iterations is None or done is None or iterations > done
        if further or _reason_against(path):
            ahead.append(path)
    return [*ahead, found[place], *(path for path in found if path not in (*ahead, found[place]))]


def _iterations(path: Path) -> int | None:
    """Iterations that a checkpoint has behind it, without reading its weights where it can."""
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception:
        try:
            content = read_content(path, '--resume')
        except ConfigError:
            return None
    meta = content.get('meta') if isinstance(content, dict) else None
    iterations = meta.get('iter') if isinstance(meta, dict) else None
    return iterations if isinstance(iterations, int) else None


def _folders(cfg: Config) -> list[Any]:
    """Where the checkpoint hook writes: the work dir, or a folder of its name elsewhere."""
    folders = [Path(cfg.work_dir)]
    saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if saving.get('out_dir'):
        folders.append(Path(saving['out_dir'], folders[0].name))
    return [folder for folder in folders if folder.is_dir()]


def marked_name(work_dir: str | Path) -> str | None:
    """The name of the checkpoint that a work dir's marker names.

    Args:
        work_dir (str | Path): Of a training.

    Returns:
        str | None: Without its folder, which may have been moved; None where no marker says one.
    """
    marker = Path(work_dir, MARKER)
    if not marker.is_file():
        return None
    text = marker.read_text(encoding='utf-8', errors='replace').strip()
    return Path(text).name or None


def _reason_against(path: str | Path) -> str | None:
    """Why a file is none to train on from, or None."""
    try:
        content = read_content(path, '--resume')
    except ConfigError as error:
        return f'cannot be read ({str(error).removeprefix("--resume: ")})'
    meta = content.get('meta')
    if not isinstance(meta, dict) or not isinstance(content.get('message_hub'), dict):
        return 'holds weights alone'
    if path.name.startswith('best_') and 'optimizer' not in content:
        return 'is a best one, without its optimizer'
    return None
