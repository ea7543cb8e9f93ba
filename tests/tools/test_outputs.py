"""An output that cannot be written is one line before anything runs; names are only text."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.preflight.output import check_output
from btkd_det.report import bias_report
from btkd_det.report.teacher_bias import BiasCount, Examples

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.mark.parametrize(
    ('tool', 'args', 'option'),
    [
        ('class_means', ['c.py', 'c.pth', '--out', 'OUT'], '--out'),
        ('cache_teacher', ['c.py', '--out', 'OUT'], '--out'),
        ('bias_report', ['c.py', 'c.pth', '--out', 'OUT'], '--out'),
        ('test', ['c.py', 'c.pth', '--out', 'OUT'], '--out'),
        ('test', ['c.py', 'c.pth', '--predictions', 'OUT'], '--predictions'),
        ('compare', ['run', '--out', 'OUT'], '--out'),
        ('benchmark', ['losses', '--out', 'OUT'], '--out'),
        ('make_recipe', ['cifar100', '--student', 'resnet20', '--out', 'OUT'], '--out'),
        ('make_shapes', ['--out', 'OUT'], '--out'),
        ('demo', ['--out', 'OUT'], '--out'),
    ],
)
def test_it_is_refused_before_anything_else_is_looked_at(tool, args, option, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    out = tmp_path / 'file' / 'below'
    args = [str(out) if arg == 'OUT' else arg for arg in args]
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *args])
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
    assert str(end.value).startswith(f'error: {option}: {out} cannot be written (')
    assert '\n' not in str(end.value)


def test_what_can_be_written_leaves_no_trace(tmp_path):
    check_output(tmp_path / 'new' / 'file.json', '--out')
    check_output(tmp_path / 'new', '--out', folder=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['x' * 250, 'taken'])
def test_names_that_no_file_can_have(name, tmp_path):
    (tmp_path / 'taken').mkdir()
    with pytest.raises(ConfigError, match='^--out: '):
        check_output(tmp_path / name, '--out')


MARKUP = ['$\\frac{x', '<img src=x onerror=alert(1)>', '$$', '\\alpha_{', '&amp;"']


def test_class_and_file_names_are_text_in_the_report(tmp_path):
    torch.manual_seed(0)
    count = BiasCount(6, background=True)
    count.update(torch.randn(60, 6), torch.arange(60) % 6)
    result = count.result(MARKUP)
    about = dict(config='<script>alert(2)</script>.py', checkpoint='$\\frac{.pth')
    bias_report.write_report(tmp_path, [result], [Examples(1).best()], about)
    page = (tmp_path / 'report.html').read_text()
    assert '<script' not in page
    assert 'src=x' not in page.replace('&lt;img src=x', '')
    assert '&lt;img src=x onerror' in page
