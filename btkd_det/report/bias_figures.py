"""The figures of the report on a teacher's bias."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .pictures import crop, grid
from .pixels import image_of_input

RIGHT, WRONG, INK, PAPER = '#1e8848', '#d03030', '#262a36', '#fcfcfa'
#: More classes than this are not to be read in a picture; the JSON has all.
MOST_CLASSES = 30
CROP = 150


def worst_classes(result: Any) -> list[Any]:
    """The classes that came by, the least right first."""
    return sorted(result['classes'], key=lambda c: (c['right_rate'], -c['rows']))


def class_figure(result: Any) -> Any:
    """The right-rate of each class, the worst on top; Image.Image."""
    classes = worst_classes(result)[:MOST_CLASSES]
    figure, axes = _axes(7, 1.2 + 0.26 * len(classes))
    rates = [100 * c['right_rate'] for c in classes]
    places = range(len(classes))
    axes.barh(places, [100] * len(classes), color=WRONG, alpha=0.25)
    axes.barh(places, rates, color=RIGHT)
    for place, (rate, c) in enumerate(zip(rates, classes, strict=True)):
        axes.text(101, place, f'{rate:.1f} % of {c["rows"]}', va='center', fontsize=8, color=INK)
    axes.set_yticks(places, [c['name'] for c in classes])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel('rows on which the teacher is right, %')
    return _image(figure)


def confusion_figure(result: Any) -> Any:
    """What the classes with the most mistakes are taken for, in percent; Image.Image."""
    counts = torch.tensor(result['confusion'], dtype=torch.float64)
    wrong = counts.clone().fill_diagonal_(0)
    busy = (wrong.sum(dim=0) + wrong.sum(dim=1)).argsort(descending=True, stable=True)
    kept = busy[:MOST_CLASSES].sort().values
    shares = 100 * counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    shares = shares[kept][:, kept]
    names = [result['names'][i] for i in kept]
    size = 2.4 + 0.32 * len(names)
    figure, axes = _axes(size + 0.8, size)
    # The diagonal is pale, or the mistakes would be lost beside it.
    mistakes = shares.clone().fill_diagonal_(0)
    top = max(float(mistakes.max()), 1e-9)
    axes.imshow(mistakes.numpy(), cmap='Reds', vmin=0, vmax=top)
    for i, j in torch.cartesian_prod(*(torch.arange(len(names)),) * 2).view(-1, 2).tolist():
        share = float(shares[i, j])
        if share >= 0.05:
            dark = i != j and share > 0.6 * top
            color = 'white' if dark else RIGHT if i == j else INK
            text = f'{share:.0f}' if share >= 10 else f'{share:.1f}'
            axes.text(j, i, text, ha='center', va='center', fontsize=7, color=color)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("the teacher's choice")
    axes.set_ylabel('label')
    return _image(figure)


def confidence_figure(result: Any) -> Any:
    """How sure the teacher is where it is right and where it is wrong; Image.Image."""
    found = result['confidence']
    edges = [i / found['bins'] for i in range(found['bins'] + 1)]
    figure, axes = _axes(7, 3)
    for kind, color in (('right', RIGHT), ('wrong', WRONG)):
        total = max(sum(found[kind]), 1)
        shares = [100 * n / total for n in found[kind]]
        label = f'{kind} ({sum(found[kind])} rows)'
        axes.stairs(shares, edges, color=color, fill=True, alpha=0.25)
        axes.stairs(shares, edges, color=color, label=label, linewidth=1.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("probability of the teacher's choice")
    axes.set_ylabel('share of these rows, %')
    axes.legend(frameon=False, loc='upper left')
    return _image(figure)


def example_sheet(
    examples: list[dict[str, Any]], names: Sequence[str], swap_channels: bool
) -> Image.Image:
    """The mistakes the teacher was surest of, in rows of four.

    Args:
        examples (list[dict]): Of one kind, see :class:`~btkd_det.report.teacher_bias.Examples`.
        names (Sequence[str]): Of the classes.
        swap_channels (bool): Whether the pictures' first channel is blue.

    Returns:
        Image.Image: The sheet: above each picture the label and what it was taken for; in it the
        RoI in red and what is annotated in green.
    """
    cells, captions = [], []
    for example in examples:
        image = image_of_input(example['picture'], swap_channels)
        drawn = [(truth, RIGHT) for truth in example['truth']]
        drawn += [(example['box'], WRONG)] if example['box'] else []
        cells.append(crop(image, example['box'], CROP, drawn))
        chosen = f'{names[example["choice"]]} {100 * example["confidence"]:.0f} %'
        captions.append(f'{names[example["label"]]}\n{chosen}')
    blank = Image.new('RGB', (CROP, CROP), PAPER)
    missing = -len(cells) % 4 if len(cells) > 4 else 0
    cells += [blank] * missing
    captions += [''] * missing
    split = lambda items: [items[i : i + 4] for i in range(0, len(items), 4)]
    return grid(split(cells), captions=split(captions))


def _axes(width: int, height: int) -> tuple:
    # Not pyplot: it keeps every figure, and picks a backend for a screen that may not be there.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout='constrained', facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _image(figure: Any) -> Any:
    for axes in figure.axes:
        # A class may be called $\frac{x, which is no formula.
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
            label.set_parse_math(False)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
