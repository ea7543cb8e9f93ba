"""Tables for a terminal."""

import io
import sys
from collections.abc import Sequence
from typing import Any

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..evaluation import COCO_NUMBERS

_RULED = Box('    \n    \n -- \n    \n    \n    \n    \n    \n', ascii=True)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table: the first column to the left, the others to the right.

    Args:
        header (Sequence[str]): Titles.
        rows (Sequence[Sequence[str]]): Cells, as many to a row as there are titles.

    Returns:
        str: The lines of the table.
    """
    table = Table(box=_RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, title in enumerate(header):
        # As Text: a name in brackets is no markup.
        table.add_column(Text(str(title)), justify='right' if i else 'left', no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    file = io.StringIO()
    # As wide as the table: who prints it cuts nothing off.
    console = Console(
        file=file,
        width=sys.maxsize,
        color_system=None,
        highlight=False,
        # In a notebook it would show the table by itself, too.
        force_jupyter=False,
    )
    console.print(table)
    return '\n'.join(line.rstrip() for line in file.getvalue().splitlines())


def percent(value: Any) -> str:
    """COCO's way to print a number in [0, 1]: ``37.4``, or ``-`` where nothing was counted."""
    return '-' if value < 0 else f'{100 * value:.1f}'


def detection_table(metrics: dict[str, float]) -> str:
    """What ``tools/test.py`` prints for a detector.

    Args:
        metrics (dict[str, float]): As MMEngine's runner returns them: ``coco/bbox_AP``, ...,
            ``pascal_voc/AP50``, ... Other entries are printed as they are.

    Returns:
        str: A table for each kind of result (boxes, masks), per-class AP, the rest.
    """
    rest = dict(metrics)
    parts = [*_coco_parts(rest), *_voc_parts(rest), *_found_parts(rest)]
    parts.extend(f'{name}: {value}' for name, value in rest.items())
    return '\n\n'.join(parts)


def _voc_parts(rest: Any) -> Any:
    """Tables of VOC's AP, (all, by class); what they show is taken out of ``rest``."""
    voc = [key for key in rest if key.startswith('pascal_voc/')]
    found = {key.partition('/')[2]: rest.pop(key) for key in voc}
    whole = {name: value for name, value in found.items() if '/' not in name}
    by_class = {}
    for name, value in found.items():
        threshold, _, label = name.partition('/')
        if label:
            by_class.setdefault(label, {})[threshold] = percent(value)
    parts = []
    if whole:
        parts.append(text_table(['VOC', *whole], [['', *map(percent, whole.values())]]))
    if by_class:
        thresholds = list(next(iter(by_class.values())))
        rows = [[label, *values.values()] for label, values in by_class.items()]
        parts.append(text_table(['class', *thresholds], rows))
    return parts


def _found_parts(rest: Any) -> Any:
    """The table of what student and teacher find; what it shows is taken out of ``rest``."""
    if 'teacher/objects' not in rest:
        return []
    names = ('objects', 'found', 'teacher_found', 'beyond', 'lost')
    counts = {name: rest.pop(f'teacher/{name}') for name in names}
    rows = [
        ('the student finds', counts['found'], counts['objects']),
        ('the teacher finds', counts['teacher_found'], counts['objects']),
        (
            'the teacher misses, the student finds (beyond the teacher)',
            counts['beyond'],
            counts['objects'] - counts['teacher_found'],
        ),
        ('the teacher finds, the student misses', counts['lost'], counts['teacher_found']),
    ]
    share = lambda part, whole: f'{100 * part / whole:.2f}' if whole else '-'
    cells = [[what, f'{part} of {whole}', share(part, whole)] for what, part, whole in rows]
    return [text_table(['student and teacher', 'objects', '%'], cells)]


def _coco_parts(rest: Any) -> Any:
    """COCO's tables; what they show is taken out of ``rest``."""
    metrics = dict(rest)
    parts = []
    for kind in ('bbox', 'segm'):
        prefix = next((k[: -len('AP')] for k in metrics if k.endswith(f'{kind}_AP')), None)
        if prefix is None:
            continue
        cells = [percent(rest.pop(prefix + name)) for name in COCO_NUMBERS]
        parts.append(text_table([kind, *COCO_NUMBERS], [['', *cells]]))
        by_class = {k: rest.pop(k) for k in list(rest) if k.startswith(f'{prefix}AP/')}
        if by_class:
            rows = [[k[len(f'{prefix}AP/') :], percent(v)] for k, v in by_class.items()]
            parts.append(text_table(['class', 'AP'], rows))
    return parts


def accuracy_table(metrics: dict[str, float]) -> str:
    """What ``tools/test.py`` prints for a classifier.

    Args:
        metrics (dict[str, float]): As MMEngine's runner returns them: ``accuracy/top1`` and
            ``accuracy/top5`` in percent and, where there is a teacher, ``teacher/...``; see
            :func:`btkd_det.evaluation.agreement`. Other entries are printed as they are.

    Returns:
        str: A table of accuracies, one of the agreement with the teacher, the rest.
    """
    rest = dict(metrics)
    own = {k.rpartition('/')[2]: rest.pop(k) for k in list(rest) if k.startswith('accuracy/')}
    of_teacher = {k.rpartition('/')[2]: rest.pop(k) for k in list(rest) if k.startswith('teacher/')}
    rows = [['student', *(f'{value:.2f}' for value in own.values())]]
    if of_teacher:
        rows.append(['teacher', *(f'{of_teacher[k]:.2f}' if k in of_teacher else '' for k in own)])
    parts = [text_table(['accuracy in %', *own], rows)] if own else []
    if of_teacher:
        parts.append(_agreement_table(of_teacher))
    parts.extend(f'{name}: {value}' for name, value in rest.items())
    return '\n\n'.join(parts)


def _agreement_table(of_teacher: Any) -> Any:
    share = lambda value: '-' if value < 0 else f'{value:.2f}'
    rows = [
        [
            'teacher wrong, student right (beyond the teacher)',
            f'{of_teacher["beyond"]} of {of_teacher["wrong"]}',
            share(of_teacher['beyond_share']),
        ],
        [
            'teacher right, student right (kept)',
            f'{of_teacher["kept"]} of {of_teacher["right"]}',
            share(of_teacher['kept_share']),
        ],
        ['same choice (agreement)', '', share(of_teacher['agreement'])],
    ]
    return text_table(['student and teacher', 'images', '%'], rows)
