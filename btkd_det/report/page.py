"""What the pages of reports share: their style, their frame, and pictures that lie within them."""

import base64
import io
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #262a36; background: #fcfcfa;
       max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid #dcdcd6; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; margin: .3rem 0; }
.note { background: #fff3d6; padding: .6rem .9rem; border-radius: 4px; max-width: 46rem; }
.right { color: #1e8848; } .wrong { color: #d03030; } .ignored { color: #787c86; }
code { background: #eeeee8; padding: 0 .25rem; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
pre { background: #f2f2ec; padding: .8rem; }
.wide, pre { overflow-x: auto; }
@media (max-width: 600px) {
  body { margin: 1rem auto; }
  th, td { padding: .3rem .45rem; }
  td:not(:first-child) { overflow-wrap: anywhere; }
  pre { font-size: .68rem; padding: .6rem; }
  .wide img { max-width: none; width: 900px; }
}
@media (prefers-color-scheme: dark) {
  body { color: #e4e4e0; background: #1d1f26; }
  th, td { border-color: #3d414d; }
  code, pre { background: #2b2e38; }
  .note { background: #4a3d16; }
  .right { color: #4cc27a; } .wrong { color: #ff7070; } .ignored { color: #a9adb8; }
  a { color: #8ab4ff; }
  svg, .drawing { background: #fcfcfa; }
}
"""

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style></head><body>
{% block body %}{% endblock %}
</body></html>
"""


def render(body: str, title: str, style: str = '', **values: Any) -> str:
    """A page by a template of jinja2; what the values say is escaped.

    Args:
        body (str): The template of what stands between ``<body>`` and ``</body>``.
        title (str): The page's.
        style (str): CSS beside :data:`STYLE`. Defaults to none.
        **values: What the template names. Elements are ``Markup``, as :func:`embedded` gives.

    Returns:
        str: The whole page.
    """
    page = '{% extends "frame" %}{% block body %}' + body + '{% endblock %}'
    templates = DictLoader(dict(frame=_FRAME, page=page))
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined)
    style = Markup(f'{STYLE} {style}')
    return environment.get_template('page').render(title=title, style=style, **values)


def embedded(image: Image.Image, alt: str, kind: str = 'JPEG') -> Markup:
    """An image as an HTML element that holds it.

    Args:
        image (Image.Image): The image.
        alt (str): What it shows.
        kind (str): ``'JPEG'`` for photographs and noise, which make a PNG ten times as large;
            ``'PNG'`` for drawings. Defaults to ``'JPEG'``.

    Returns:
        Markup: An ``img`` element.
    """
    file = io.BytesIO()
    options = dict(quality=92, subsampling=0) if kind == 'JPEG' else {}
    image.save(file, kind, **options)
    data = base64.b64encode(file.getvalue()).decode()
    source = f'data:image/{kind.lower()};base64,{data}'
    return Markup('<img alt="{}" src="{}">').format(alt, source)
