"""Pages and tables show what they are given as text, whatever it looks like."""

import re

import pytest
from jinja2 import UndefinedError
from PIL import Image

from btkd_det.report import bias_report, summary
from btkd_det.report.page import STYLE, embedded, render
from btkd_det.report.table import text_table

NASTY = '<b>cat & dog</b> "x"'
ESCAPED = '&lt;b&gt;cat &amp; dog&lt;/b&gt; &#34;x&#34;'


def test_what_a_page_is_given_is_escaped():
    page = render('<p>{{ name }}</p>{{ picture }}', NASTY, name=NASTY, picture=picture(NASTY))
    assert page.startswith('<!doctype html>')
    assert f'<title>{ESCAPED}</title>' in page
    assert f'<p>{ESCAPED}</p>' in page
    assert f'<img alt="{ESCAPED}" src="data:image/png;base64,' in page
    assert NASTY not in page
    with pytest.raises(UndefinedError, match='nmae'):
        render('{{ nmae }}', 'x', name='y')


def picture(alt):
    return embedded(Image.new('RGB', (2, 2)), alt, 'PNG')


def test_the_report_escapes_names_of_files_and_classes():
    about = {'config': NASTY}
    tables = [([NASTY], [[NASTY]])]
    section = dict(title='', tables=tables, hints=[NASTY], pictures=[(NASTY, picture(NASTY))])
    page = bias_report._page(about, [section])
    assert NASTY not in page
    assert page.count(f'<td>{ESCAPED}</td>') == 2
    assert f'<th>{ESCAPED}</th>' in page
    assert f'<p>{ESCAPED}</p>' in page


def test_a_table_lines_up_whatever_is_in_it():
    lines = text_table(['name', 'AP'], [['[bold]cat[/]', '1.5'], ['\u732b', '10.0']]).splitlines()
    assert lines == [
        'name            AP',
        '------------------',
        '[bold]cat[/]   1.5',
        # Two columns wide in a terminal.
        '\u732b            10.0',
    ]
    long = 'x' * 300
    assert text_table(['name'], [[long]]).splitlines()[-1] == long


@pytest.mark.parametrize('style', [bias_report._STYLE, summary._STYLE], ids=['bias', 'summary'])
def test_a_page_of_its_own_sets_no_color_that_the_dark_scheme_would_not_change(style):
    """What stands behind the shared style wins over its dark colors."""
    assert not re.findall(r'#[0-9a-f]{3,6}\b', style)
    light, _, dark = STYLE.partition('prefers-color-scheme: dark')
    assert 'pre { background' in light
    assert re.search(r'pre \{ background: #2b2e38', dark)
