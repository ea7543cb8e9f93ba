"""The demo's table and page."""

import dataclasses
import re

import numpy as np
from PIL import Image

from experiments.demo.report import VERDICT_COLORS, demo_table, side_by_side, write_report
from experiments.demo.shapes import ShapesSpec

NAMES = ('square', 'bar')
ROWS = [
    dict(
        title=title,
        AP=ap,
        AP50=0.6,
        AP75=-1.0,
        parameters=1234567,
        seconds_per_step=0.25,
        curve=[0.1, ap],
        config=f'{title}.py',
        checkpoint=f'{title}.pth',
    )
    for title, ap in (('teacher', 0.4567), ('student <b>', 0.3))
]


def test_table_has_a_row_for_each_model_and_says_one_seed():
    lines = demo_table(ROWS, images=300).splitlines()
    assert '300 images' in lines[0]
    assert lines[2].split() == ['model', 'AP', 'AP50', 'AP75', 'parameters', 's/step']
    assert lines[4].split() == ['teacher', '45.7', '60.0', '-', '1.23', 'M', '0.250']
    assert lines[5].startswith('student <b>')
    assert any(line.startswith('One seed') for line in lines)
    assert lines[-1].endswith('(docs/results.md)')


def test_side_by_side_colors_what_is_right_wrong_and_in_a_crowd():
    image = Image.new('RGB', (40, 40), (255, 255, 255))
    truth = [((4, 12, 16, 24), 0, False), ((20, 20, 39, 39), 1, True)]
    right, wrong = ((4, 12, 16, 24), 0, 0.9), ((4, 12, 16, 24), 1, 0.9)
    crowd = ((24, 30, 30, 36), 1, 0.9)
    sheet = np.asarray(side_by_side(image, truth, [[right], [wrong], [crowd]], NAMES, 'abc'))
    colors = [
        tuple(sheet[26 + y * 2, 8 + cell * 88 + x * 2])
        for cell, x, y in ((1, 16, 20), (2, 16, 20), (3, 30, 34))
    ]
    assert colors == [VERDICT_COLORS[v] for v in ('right', 'wrong', 'ignored')]
    assert sheet.shape[1] == 8 + 4 * 88


def test_page_holds_its_pictures_and_escapes_titles(tmp_path):
    file = tmp_path / '000007.jpg'
    Image.new('RGB', (32, 32)).save(file)
    truth = [[((2, 2, 9, 9), 0, False)]]
    spec = dataclasses.replace(ShapesSpec(), train=5)
    write_report(tmp_path / 'report.html', ROWS, spec, [file], truth, [[[]], [[]]], NAMES)
    page = (tmp_path / 'report.html').read_text()
    assert (tmp_path / 'pictures' / 'val_000007.png').is_file()
    assert page.count('data:image/jpeg;base64,') == 1
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert 'student &lt;b&gt;' in page
    assert 'student <b>' not in page
    assert '45.7' in page
    assert 'One seed' in page
    assert page.count('<polyline') == 2
