"""The report on a teacher's bias: lines for the terminal, pictures, one page that holds them."""

import dataclasses
import html
import json
import textwrap
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..checkpoint.writing import write_text
from .page import STYLE, embedded
from .pictures import crop, grid
from .table import percent, text_table

RIGHT, WRONG, INK, PAPER = '#1e8848', '#d03030', '#262a36', '#fcfcfa'
TITLES = dict(
    another_class='an object taken for another class',
    object_as_background='an object taken for background',
    background_as_object='background taken for an object',
)
EXAMPLES = (
    'Surest mistakes: {}. Above each picture the label and the choice; the RoI is red, what is '
    'annotated green'
)
#: A teacher of at least this share of right rows leaves BTKD nothing to do.
MOSTLY_RIGHT = 0.99
#: More classes than this are not to be read in a picture; the JSON has all.
MOST_CLASSES = 30
CROP = 150


def bias_table(result):
    """The report for a terminal.

    Args:
        result (dict): From :meth:`~btkd_det.report.teacher_bias.BiasCount.result`.

    Returns:
        str: Right-rates, kinds of mistakes, the worst classes, the rules.
    """
    rows = [['all', result]]
    rows += [[name, result[name]] for name in ('foreground', 'background') if name in result]
    rows += [[f'{size} RoIs', rates] for size, rates in result.get('sizes', {}).items()]
    rows += [[f'IoU {limits}', rates] for limits, rates in result.get('overlaps', {}).items()]
    cells = [_rate_cells(*row) for row in rows if row[1]['rows']]
    parts = [text_table(['rows', 'seen', 'right', 'right %'], cells)]
    kinds = [[TITLES[kind], str(count)] for kind, count in result['kinds'].items()]
    parts.append(text_table(['mistakes', 'rows'], kinds))
    classes = [
        [*_rate_cells(c['name'], c), ', '.join(f'{k} {n}' for k, n in c['taken_for'].items())]
        for c in worst_classes(result)[:10]
    ]
    parts.append(text_table(['worst classes', 'seen', 'right', 'right %', 'taken for'], classes))
    if result['right'] < result['rows']:
        parts.append(text_table(RULE_HEADER, _rule_cells(result)))
    hints = [curriculum_line(result), *background_line(result)]
    parts += [textwrap.fill(hint, 96) for hint in hints]
    return '\n\n'.join(parts)


RULE_HEADER = ['rule', 'space', "label's entry largest %", "label's probability %", 'moved %']


def _rate_cells(name, rates):
    return [name, str(rates['rows']), str(rates['right']), percent(rates['right_rate'])]


def _rule_cells(result):
    keys = ('put_right', 'label_probability', 'moved')
    return [[r['rule'], r['space'], *(percent(r[key]) for key in keys)] for r in result['rules']]


def worst_classes(result):
    """The classes that came by, the least right first."""
    return sorted(result['classes'], key=lambda c: (c['right_rate'], -c['rows']))


def curriculum_line(result):
    """What the schedule makes of these numbers, a sentence."""
    if result['right'] >= MOSTLY_RIGHT * result['rows']:
        return (
            f'The teacher is right on {_share(result)} of the rows, so there is hardly anything to '
            'put right. As published, BTKD takes the weight off the right rows as training goes: '
            "of the host's loss on them 100, 85, 50, 15 and 2 % are left at 0, 25, 50, 75 and "
            '90 % of the training. Use the host alone, such as KDLoss, or schedule="none".'
        )
    if not result['curriculum']:
        return (
            'The teacher is right on no row: as published, BTKD starts without any distillation '
            'and ends with rectified rows alone. Look for a better teacher.'
        )
    wrong = result['rows'] - result['right']
    half = result['curriculum']['0.5']
    line = (
        f'{wrong / result["batches"]:.1f} rows of a batch are wrong. With normalize="subset", as '
        f'published, one of them weighs {half:.3g} times as much as a right row at half of the '
        'training'
    )
    return line + ('; normalize="all" weighs both alike there.' if half > 10 else '.')


def _share(result):
    """The right-rate in percent, never rounded up to all."""
    if result['right'] == result['rows']:
        return '100 %'
    return f'{min(100 * result["right"] / result["rows"], 99.99):.2f} %'


def background_line(result):
    """A hint where most of what the teacher gets wrong is background, a list of one or none."""
    wrong = result['rows'] - result['right']
    background = result['kinds'].get('background_as_object', 0)
    if 2 * background <= wrong:
        return []
    return [
        f'{percent(background / wrong)} % of the wrong rows are background by their label. Look at '
        'the pictures: where they show objects that nobody annotated, the teacher is right, and '
        'BTKDLoss(foreground_only=True) leaves those rows as they are.'
    ]


def write_report(folder, results, examples, about, swap_channels=False, advice=None):
    """Write ``bias.json``, ``report.html`` and the pictures in it.

    The page holds its pictures itself, so it can be sent and opened anywhere.

    Args:
        folder (Path): Made where it is missing.
        results (list[dict]): One, or one for each stage of a cascade.
        examples (list[dict[str, list[dict]]]): As many, see
            :meth:`~btkd_det.report.teacher_bias.Examples.best`.
        about (dict): What the page names at its top.
        swap_channels (bool): Whether the first channel of the examples is blue.
        advice (Advice, optional): What to do about it, from
            :func:`~btkd_det.report.advice.advise`.
    """
    folder = Path(folder)
    (folder / 'pictures').mkdir(parents=True, exist_ok=True)
    found = dict(about, stages=results)
    if advice is not None:
        found['advice'] = dataclasses.asdict(advice)
    write_text(folder / 'bias.json', json.dumps(found, indent=1) + '\n')
    sections = []
    for i, (result, kept) in enumerate(zip(results, examples, strict=True)):
        name = f'stage{i + 1}_' if len(results) > 1 else ''
        figures = dict(
            classes=class_figure(result),
            confusion=confusion_figure(result),
            confidence=confidence_figure(result),
        )
        for kind, rows in kept.items():
            if rows:
                figures[kind] = example_sheet(rows, result['names'], swap_channels)
        for key, figure in figures.items():
            figure.save(folder / 'pictures' / f'{name}{key}.png')
        title = f'Stage {i + 1} of the cascade' if len(results) > 1 else ''
        sections.append(_section(title, result, figures))
    write_text(folder / 'report.html', _page(about, sections, advice))


def class_figure(result):
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


def confusion_figure(result):
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
    shown = shares.clone().fill_diagonal_(0)
    top = max(float(shown.max()), 1e-9)
    axes.imshow(shown.numpy(), cmap='Reds', vmin=0, vmax=top)
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


def confidence_figure(result):
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


def example_sheet(examples, names, swap_channels):
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
        pixels = example['picture'].clamp(0, 255).byte().cpu()
        if pixels.shape[0] == 1:
            pixels = pixels.expand(3, -1, -1)
        pixels = (pixels.flip(0) if swap_channels else pixels).permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels)
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


def _axes(width, height):
    # Not pyplot: it keeps every figure, and picks a backend for a screen that may not be there.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout='constrained', facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _image(figure):
    for axes in figure.axes:
        # A class may be called $\frac{x, which is no formula.
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
            label.set_parse_math(False)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')


def _section(title, result, figures):
    parts = [f'<h2>{html.escape(title)}</h2>'] if title else []
    parts.append(f'<pre>{html.escape(bias_table(result))}</pre>')
    captions = dict(
        classes='How often is it right, class by class?',
        confusion='What is taken for what? Percent of the rows of each label',
        confidence='Is it less sure where it is wrong?',
    )
    for key, figure in figures.items():
        caption = captions.get(key) or EXAMPLES.format(TITLES[key])
        parts.append(f'<h2>{html.escape(caption)}</h2><p>{embedded(figure, caption, "PNG")}</p>')
    return '\n'.join(parts)


def _page(about, sections, advice=None):
    lines = [] if advice is None else advice.lines()
    advised = ''.join(f'<p>{html.escape(line)}</p>' for line in lines)
    facts = ''.join(
        f'<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>'
        for key, value in about.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>What this teacher gets wrong</title>
<style>{STYLE} pre {{ background: #f2f2ec; padding: .8rem; overflow-x: auto; }}
table.facts td {{ text-align: left; }}</style></head><body>
<h1>What this teacher gets wrong</h1>
<table class="facts">{facts}</table>
{advised}
<p>A row is a RoI that the teacher proposed and sampled as in its own training, or an image of a
classifier. It is right where its largest logit is the label's, as BTKD judges. The rules' three
columns are means over the wrong rows, after the rule: is the label's entry the largest, which
probability does it have, and how much of the row's probability has moved.</p>
{''.join(sections)}
</body></html>
"""
