"""A training on one page: its curves, how it stands to its teacher, its pictures."""

import math
import re
import shlex
import statistics
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from ..checkpoint.writing import write_text
from ..config.tools import tool_command
from ..preflight.work_dir import read_dump
from .curves import Points, curves
from .page import embedded, render
from .runs import TrainingLog, at_best, config_of, main_metric, read_log
from .terms import PREFIX, SHARES, Term, terms_of

FILE = 'summary.html'
#: Entries whose curves share the axis from 0 to 1.
SHARED = (*SHARES, 'trust', 'gamma')
#: The parts of the loss that BTKD tells apart.
PARTS = ('easy', 'hard')


def write_summary(folder: str | Path, config: Path | None = None) -> Path:
    """Write ``summary.html`` into a work dir, from what lies there.

    Args:
        folder (str | Path): The work dir of a training that is over, or goes on.
        config (Path, optional): Its config there. Defaults to the first.

    Returns:
        Path: The page. It holds its drawings and the last picture itself, and links the others.

    Raises:
        ConfigError: The folder holds no log or no config.
        OSError: It cannot be written.
    """
    folder = Path(folder)
    log, config = read_log(folder), config or config_of(folder)
    metric = main_metric(log.validations[-1][1]) if log.validations else None
    pictures = _pictures(folder)
    page = render(
        _BODY,
        f'Training of {config.stem}',
        _STYLE,
        facts=_facts(folder, config, log),
        result=_result(log, metric) if metric else [],
        metric=metric,
        command=evaluate_command(folder, config),
        figures=_figures(log, metric),
        sites=_last_logged(log),
        pictures=pictures,
        last_picture=_embedded(folder, *pictures[-1]) if pictures else None,
    )
    write_text(folder / FILE, page)
    return folder / FILE


def evaluate_command(folder: str | Path, config: Path) -> str:
    """How to test the last checkpoint of a work dir, as one types it.

    Args:
        folder (str | Path): The work dir.
        config (Path): Its config there.
    """
    marker = Path(folder, 'last_checkpoint')
    latest = marker.read_text().strip() if marker.is_file() else Path(folder, 'CHECKPOINT.pth')
    return shlex.join([*tool_command('test'), str(config), str(latest)])


def _facts(folder: Path, config: Path, log: TrainingLog) -> dict[str, Any]:
    """What the table at the top names."""
    facts: dict[str, Any] = dict(config=config.name, folder=str(folder))
    # Read without executing it: a page of a training is no reason to run code.
    cfg = read_dump(config) or {}
    model = cfg.get('model') or {}
    teacher = model.get('teacher') or {}
    source = teacher.get('checkpoint') or teacher.get('cache')
    if source:
        facts['teacher'] = str(source)
    if model.get('distill'):
        facts['sites'] = ', '.join(model['distill'])
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None:
        facts['seed'] = seed
    if log.steps:
        facts['iterations'] = int(log.steps[-1]['iter'])
        epoch = log.steps[-1].get('epoch')
        if epoch:
            facts['epochs'] = int(epoch)
        times = [line['time'] for line in log.steps if 'time' in line]
        if times:
            facts['seconds per iteration'] = f'{statistics.median(times):.3g}'
    return facts


def _result(log: TrainingLog, metric: str) -> list[tuple[str, str, str]]:
    """Rows of the table of the metric: who, how much, when."""
    unit = _unit(log)
    measured = [(found[metric], at) for at, found in log.validations if metric in found]
    last, best = measured[-1], max(measured, key=lambda pair: at_best(pair[0]))
    rows = [('student, last validation', _number(last[0]), f'{unit} {last[1]}')]
    if best[1] != last[1] and not math.isnan(best[0]):
        rows.append(('student, best validation', _number(best[0]), f'{unit} {best[1]}'))
    if metric in log.teacher:
        its = log.teacher[metric]
        rows.append(('teacher, same data', _number(its), 'before training'))
        rows.append(('student less teacher', _signed(last[0] - its), f'{unit} {last[1]}'))
    return rows


def _last_logged(log: TrainingLog) -> dict[str, list[tuple[str, str, str, str]]]:
    """Of each site the rows of its terms: what, its meaning, its last value, where it is old."""
    # A site that distills in one step of several, or until some step, is missing from some lines.
    last = {key: (value, line['iter']) for line in log.steps for key, value in line.items()}
    sites: dict[str, list[tuple[str, str, str, str]]] = {}
    for term in terms_of(last):
        value, at = last[term.key]
        when = f'iteration {int(at)}' if at != log.steps[-1]['iter'] else ''
        row = term.title, term.meaning, term.text(value), when
        sites.setdefault(term.site, []).append(row)
    return sites


def _figures(log: TrainingLog, metric: str | None) -> list[tuple[str, Markup]]:
    """The drawings, each with its title."""
    found: list[tuple[str, Markup]] = []
    if metric is not None:
        measured = [(at, values[metric]) for at, values in log.validations if metric in values]
        its = ('teacher', log.teacher[metric]) if metric in log.teacher else None
        found.append(
            (f'{metric} of the validations', curves({'student': measured}, _unit(log), level=its))
        )
    known = dict.fromkeys(key for line in log.steps for key in line)
    terms = terms_of(known)
    own = [key for key in known if 'loss' in key and not key.startswith(PREFIX)]
    losses = {key: _points(log, key) for key in own}
    if losses:
        found.append(("The loss, and the model's own terms", curves(losses, 'iteration')))
    taught = {f'{t.site}: {t.title}': _points(log, t.key) for t in terms if t.is_loss}
    if taught:
        found.append(('The terms of the distillation', curves(taught, 'iteration')))
    for site in dict.fromkeys(term.site for term in terms):
        here = [term for term in terms if term.site == site]
        found += _of_site(log, site, here)
    return found


def _of_site(log: TrainingLog, site: str, terms: list[Term]) -> list[tuple[str, Markup]]:
    found = []
    for kinds, title, shares in (
        (SHARED, f'{site}: who is right, and how much of the term is left', True),
        (PARTS, f'{site}: the loss where the teacher is right (easy) and wrong (hard)', False),
    ):
        lines = {t.title: _points(log, t.key) for t in terms if t.kind in kinds}
        if lines:
            found.append((title, curves(lines, 'iteration', shares=shares)))
    return found


def _points(log: TrainingLog, key: str) -> Points:
    return [
        (line['iter'], line[key] if math.isfinite(line[key]) else math.nan)
        for line in log.steps
        if key in line
    ]


def _unit(log: TrainingLog) -> str:
    """What the validations are counted in."""
    epochs = max((line.get('epoch', 0) for line in log.steps), default=0)
    by_epoch = all(at <= epochs for at, _ in log.validations)
    return 'epoch' if by_epoch else 'iteration'


def _pictures(folder: Path) -> list[tuple[str, str]]:
    """Title and relative link of each picture, in the order of the training."""
    number = lambda path: int(re.sub(r'\D', '', path.stem) or 0)
    files = sorted((folder / 'pictures').glob('*_*.jpg'), key=number)
    return [(path.stem.replace('_', ' '), f'pictures/{path.name}') for path in files]


def _embedded(folder: Path, title: str, link: str) -> Markup:
    """A picture itself."""
    with Image.open(folder / link) as image:
        return embedded(image.convert('RGB'), f'annotation, teacher and student, {title}')


def _number(value: float) -> str:
    return f'{value:.4g}'


def _signed(value: float) -> str:
    return f'{value:+.4g}'


_STYLE = """
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
          gap: 1rem 2rem; }
.curves figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .2rem; }
.curves svg { width: 100%; height: auto; background: none; }
table.facts td { text-align: left; overflow-wrap: anywhere; }
table.terms { margin-bottom: 1rem; } .value { white-space: nowrap; vertical-align: top; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""
_BODY = """<h1>{{ title }}</h1>
<table class="facts">
{%- for key, value in facts.items() %}<tr><th>{{ key }}</th><td>{{ value }}</td></tr>{% endfor -%}
</table>
{% if metric %}<h2>{{ metric }}</h2>
<table>
{%- for who, value, when in result -%}
<tr><td>{{ who }}</td><td class="value">{{ value }}</td><td>{{ when }}</td></tr>
{%- endfor -%}
</table>
{% else %}<p class="note">No validation has been finished.</p>
{% endif %}
<p>Evaluate the last checkpoint:</p>
<pre>{{ command }}</pre>
<h2>Curves</h2>
<div class="curves">
{% for title, figure in figures %}<figure><figcaption>{{ title }}</figcaption>{{ figure }}</figure>
{% endfor %}</div>
{% if sites %}<h2>The distillation, as last logged</h2>
{% for site, rows in sites.items() %}<table class="terms">
<tr><th colspan="2">{{ site }}</th></tr>
{%- for name, meaning, value, when in rows -%}
<tr><td>{{ name }}<br><small>{{ meaning }}</small></td><td class="value">{{ value }}
{%- if when %}<br><small>{{ when }}</small>{% endif %}</td></tr>
{%- endfor -%}
</table>
{% endfor %}{% endif %}
{% if pictures %}<h2>Pictures</h2>
<p class="wide">{{ last_picture }}</p>
<p>{% for title, link in pictures %}<a href="{{ link }}">{{ title }}</a> {% endfor %}</p>
{% endif %}"""
