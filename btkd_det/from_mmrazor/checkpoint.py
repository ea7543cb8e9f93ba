"""The plain student out of a checkpoint of MMRazor's distillation."""

from pathlib import Path
from typing import Any

import torch

from ..checkpoint import read_checkpoint
from ..checks import check_file
from ..errors import ConfigError


def read_student(source: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a checkpoint of MMRazor's distillation and keep the student.

    Args:
        source (str | Path): The checkpoint, a file or an http(s) address; read weights only.

    Returns:
        tuple[dict, dict[str, int]]: The student's checkpoint, with ``state_dict`` and ``meta``,
        and how many tensors were ``taken``, and how many of the ``teacher`` and the
        ``distiller`` were left behind.

    Raises:
        ConfigError: ``source`` cannot be read, or holds no student.
    """
    source = str(source)
    if '://' not in source:
        check_file('checkpoint', source, 'a checkpoint that MMRazor saved while distilling')
    state, meta = read_checkpoint(source, 'checkpoint')
    taken = {
        name.removeprefix('architecture.'): value
        for name, value in state.items()
        if name.startswith('architecture.')
    }
    if not taken:
        raise ConfigError(
            f'checkpoint: {source} has no weights below "architecture."; its first is '
            f'{next(iter(state))!r}; valid: a checkpoint that MMRazor saved while distilling'
        )
    kept = {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter') if key in meta}
    count = lambda part: sum(name.startswith(f'{part}.') for name in state)
    counts = dict(taken=len(taken), teacher=count('teacher'), distiller=count('distiller'))
    return dict(meta=kept, state_dict=taken), counts


def save_student(student: dict[str, Any], out: str | Path) -> None:
    """Write what :func:`read_student` gave.

    Args:
        student (dict): The student's checkpoint.
        out (str | Path): Where it goes; folders are made.
    """
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(student, out)


def convert_checkpoint(source: str | Path, out: str | Path) -> dict[str, int]:
    """Take the plain student out of a checkpoint of MMRazor's distillation.

    Args:
        source (str | Path): As in :func:`read_student`.
        out (str | Path): Where the student's goes.

    Returns:
        dict[str, int]: As the second of :func:`read_student`.

    Raises:
        ConfigError: See :func:`read_student`; nothing is written then.
    """
    student, counts = read_student(source)
    save_student(student, out)
    return counts
