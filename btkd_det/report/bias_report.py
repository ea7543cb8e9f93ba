"""The report on a teacher's bias: lines for the terminal, pictures, one page that holds them."""

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Any

from ..checkpoint.writing import write_text
from .bias_figures import (
    class_figure,
    confidence_figure,
    confusion_figure,
    example_sheet,
    worst_classes,
)
from .page import embedded, render
from .table import percent, text_table

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


def bias_table(result: dict[str, Any]) -> str:
    """The report for a terminal.

    Args:
        result (dict): From :meth:`~btkd_det.report.teacher_bias.BiasCount.result`.

    Returns:
        str: Right-rates, kinds of mistakes, the worst classes, the rules.
    """
    parts = [text_table(*table) for table in _tables(result)]
    parts += [textwrap.fill(hint, 96) for hint in _hints(result)]
    return '\n\n'.join(parts)


def _tables(result: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of each table."""
    rows = [['all', result]]
    rows += [[name, result[name]] for name in ('foreground', 'background') if name in result]
    rows += [[f'{size} RoIs', rates] for size, rates in result.get('sizes', {}).items()]
    rows += [[f'IoU {limits}', rates] for limits, rates in result.get('overlaps', {}).items()]
    cells = [_rate_cells(*row) for row in rows if row[1]['rows']]
    tables = [(['rows', 'seen', 'right', 'right %'], cells)]
    kinds = [[TITLES[kind], str(count)] for kind, count in result['kinds'].items()]
    tables.append((['mistakes', 'rows'], kinds))
    classes = [
        [*_rate_cells(c['name'], c), ', '.join(f'{k} {n}' for k, n in c['taken_for'].items())]
        for c in worst_classes(result)[:10]
    ]
    tables.append((['worst classes', 'seen', 'right', 'right %', 'taken for'], classes))
    if result['right'] < result['rows']:
        tables.append((RULE_HEADER, _rule_cells(result)))
    return tables


def _hints(result: dict[str, Any]) -> list[str]:
    return [*left_out_line(result), curriculum_line(result), *background_line(result)]


RULE_HEADER = ['rule', 'space', "label's entry largest %", "label's probability %", 'moved %']


def _rate_cells(name: str, rates: Any) -> list[Any]:
    return [name, str(rates['rows']), str(rates['right']), percent(rates['right_rate'])]


def _rule_cells(result: Any) -> list[Any]:
    keys = ('put_right', 'label_probability', 'moved')
    return [[r['rule'], r['space'], *(percent(r[key]) for key in keys)] for r in result['rules']]


def curriculum_line(result: Any) -> Any:
    """What the schedule makes of these numbers, a sentence."""
    if not result['rows']:
        return 'The teacher was judged on no row: nothing was measured.'
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


def _share(result: Any) -> str:
    """The right-rate in percent, never rounded up to all."""
    if result['right'] == result['rows']:
        return '100 %'
    return f'{min(100 * result["right"] / result["rows"], 99.99):.2f} %'


def left_out_line(result: dict[str, Any]) -> list[str]:
    """How many rows are in none of the tables, a list of one or none."""
    count = result.get('left_out', 0)
    if not count:
        return []
    total = count + result['rows']
    return [
        f"{count} of {total} rows are left out: the teacher's logits or boxes are not finite there."
    ]


def background_line(result: Any) -> list[Any]:
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


def write_report(
    folder: Path,
    results: list[dict[str, Any]],
    examples: list[dict[str, list[dict[str, Any]]]],
    about: dict[str, Any],
    swap_channels: bool = False,
    advice: Any = None,
) -> None:
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


def _section(title: str, result: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """What the page says of one head: a title, the table, captions and pictures."""
    captions = dict(
        classes='How often is it right, class by class?',
        confusion='What is taken for what? Percent of the rows of each label',
        confidence='Is it less sure where it is wrong?',
    )
    captions |= {key: EXAMPLES.format(TITLES[key]) for key in figures if key in TITLES}
    pictures = [
        (captions[key], embedded(figure, captions[key], 'PNG')) for key, figure in figures.items()
    ]
    return dict(title=title, tables=_tables(result), hints=_hints(result), pictures=pictures)


_STYLE = """table.facts td { text-align: left; }
.wide { margin-bottom: 1.4rem; } .wide td { vertical-align: top; }
@media (max-width: 600px) {
  .wide th, .wide td { font-size: .8rem; padding: .3rem .25rem; overflow-wrap: normal; }
  .wide td:not(:first-child) { overflow-wrap: normal; }
}"""
_BODY = """<h1>{{ title }}</h1>
<table class="facts">
{%- for key, value in about.items() %}<tr><th>{{ key }}</th><td>{{ value }}</td></tr>{% endfor -%}
</table>
{% for line in advice %}<p>{{ line }}</p>
{% endfor %}
<p>A row is a RoI that the teacher proposed and sampled as in its own training, or an image of a
classifier. It is right where its largest logit is the label's, as BTKD judges. The rules' three
columns are means over the wrong rows, after the rule: is the label's entry the largest, which
probability does it have, and how much of the row's probability has moved.</p>
{% for section in sections %}
{% if section.title %}<h2>{{ section.title }}</h2>{% endif %}
{% for header, rows in section.tables %}<div class="wide"><table>
<tr>{% for title in header %}<th>{{ title }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}
{% for line in section.hints %}<p>{{ line }}</p>
{% endfor %}
{% for caption, picture in section.pictures %}<h2>{{ caption }}</h2><p>{{ picture }}</p>
{% endfor %}
{% endfor %}"""


def _page(about: dict[str, Any], sections: list[dict[str, Any]], advice: Any = None) -> str:
    lines = [] if advice is None else advice.lines()
    title = 'What this teacher gets wrong'
    return render(_BODY, title, _STYLE, about=about, sections=sections, advice=lines)
