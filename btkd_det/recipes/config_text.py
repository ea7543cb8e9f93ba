"""A recipe as a config file that a person can read and change."""

import json
import re
import shlex
import textwrap
from typing import Any

from mmengine.config import Config

from .methods import PLAIN, find_method, methods_with
from .protocols import find_protocol

WIDTH = 100
WRITTEN = '# Written by: '
# What a shell takes for one word: with what is quoted in it.
WORD = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\S)+""", re.S)
WORDS = {'CrossEntropy': 'cross entropy', 'temperature': 'T'}


def file_name(
    dataset: Any,
    teacher: Any = None,
    student: str | None = None,
    method: str = 'student',
    protocol: str = 'common',
    **_: Any,
) -> str:
    """The name of a recipe's file, and so of its work directory.

    Args:
        dataset, teacher, student, method, protocol: As for :func:`recipe`.

    Returns:
        str: Such as ``btkd-kd_resnet20-resnet56_cifar100.py``: method, student, teacher.
    """
    end = dataset if protocol == 'common' else f'{protocol}-recipe_{dataset}'
    if method in PLAIN:
        return f'{teacher if method == "teacher" else student}_{end}.py'
    return f'{method}_{student}-{teacher}_{end}.py'


def config_text(
    cfg: Config, dataset: Any, method: str, protocol: str = 'common', command: str | None = None
) -> str:
    """The text of a config file, laid out for its readers.

    The data's folder stands in it once, as the environment variable that may name another one.

    Args:
        cfg (Config): What :func:`recipe` gave.
        dataset, method, protocol: The arguments that it was given.
        command (str, optional): The command line that wrote the file, for its first lines.

    Returns:
        str: Python source, without a trailing blank line.

    Raises:
        ConfigError: See :func:`find_protocol` and :func:`find_method`.
    """
    plan, row = find_protocol(dataset, protocol), find_method(method)
    comment = [
        f'Protocol: {plan.source}.',
        f'Method: {method}, {row.source}.',
        f'Loss: {_loss_in_words(cfg.model)}.',
    ]
    comment += [f'{plan.remarks[name]}.' for name in plan.remarks if method in methods_with(name)]
    wrapped = [textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False) for text in comment]
    lines = [f'# {line}' for part in wrapped for line in part]
    if command:
        lines.insert(0, _command_comment(command))
    names = {}
    for name, value in cfg.to_dict().items():
        source = _source(value, names, 0, len(name) + 3)
        if '\n' in source:
            lines.append('')
        # What is long or said several times is said once and then named.
        if name == 'data_root' or (isinstance(value, dict) and value):
            names.setdefault(_key(value), name)
        if name == 'data_root' and value in plan.images.folders():
            source = repr(f'{{{{${plan.images.variable}:{plan.images.folder}}}}}')
        lines.append(f'{name} = {source}')
    return '\n'.join(lines) + '\n'


def read_command(text: str) -> list[str] | None:
    """The command line in the first lines of a config file that :func:`config_text` laid out.

    Args:
        text (str): Of the file.

    Returns:
        list[str] | None: Its words; None where the file does not begin with one.
    """
    comment, found, _ = text.partition('\n# Protocol: ')
    if not found or not comment.startswith(WRITTEN):
        return None
    try:
        return shlex.split(comment.removeprefix(WRITTEN).replace('\n# ', '\n'))
    except ValueError:
        return None


def _command_comment(command: str) -> str:
    """The command line in comments that end between its words, never within one."""
    lines = [WRITTEN.rstrip()]
    for word in WORD.findall(command.replace('\r', ' ')):
        if len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f' {word}'
        else:
            lines.append(f'# {word}')
    return '\n'.join(line.replace('\n', '\n# ') for line in lines)


def _loss_in_words(model: Any) -> str:
    """The sum that the model minimizes, such as ``0.1 cross entropy + 0.9 KD (T 4)``."""
    losses = model.get('distill', {}).get('logits', [])
    losses = [model.head.loss, *(losses if isinstance(losses, list) else [losses])]
    return ' + '.join(map(_term_in_words, losses))


def _term_in_words(loss: dict[str, Any]) -> Any:
    kind = loss['type'].rpartition('.')[2].removesuffix('Loss')
    weight = loss.get('loss_weight', 1.0)
    name = ('' if weight == 1 else f'{weight:g} ') + WORDS.get(kind, kind)
    if 'loss' in loss:
        return f'{name} around {_term_in_words(loss["loss"])}'
    numbers = ', '.join(
        f'{WORDS.get(key, key)} {value:.3g}'
        for key, value in loss.items()
        if key not in ('type', 'loss_weight', 'num_classes')
    )
    return f'{name} ({numbers})' if numbers else name


def _source(value: Any, names: Any, indent: int, used: Any) -> Any:
    """Python source of a value whose first line starts after ``used`` characters."""
    name = names.get(_key(value)) if isinstance(value, (str, dict)) else None
    if name:
        return name
    if not isinstance(value, (dict, list, tuple)):
        return repr(value)
    items = list(value.items()) if isinstance(value, dict) else [(None, v) for v in value]
    start, end = {dict: ('dict(', ')'), list: ('[', ']'), tuple: ('(', ')')}[type(value)]
    prefix = lambda key: '' if key is None else f'{key}='
    flat = [prefix(key) + _source(v, names, 0, -WIDTH * WIDTH) for key, v in items]
    comma = ',' if isinstance(value, tuple) and len(items) == 1 else ''
    line = f'{start}{", ".join(flat)}{comma}{end}'
    if used + len(line) < WIDTH:
        return line
    inner = indent + 4
    parts = [
        f'{" " * inner}{prefix(key)}{_source(v, names, inner, inner + len(prefix(key)))},'
        for key, v in items
    ]
    return '\n'.join([start, *parts, f'{" " * indent}{end}'])


def _key(value: Any) -> Any:
    return json.dumps(value, sort_keys=True)
