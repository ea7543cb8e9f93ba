"""A training's page: from the files of a work dir, whatever state they are in."""

import json
import math
import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from btkd_det.errors import ConfigError
from btkd_det.report.runs import main_metric, read_log, read_run
from btkd_det.report.summary import write_summary

TOOL = Path(__file__).parents[2] / 'tools' / 'summary.py'
CONFIG = """
randomness = dict(seed=3)
model = dict(
    type='btkd_det.DistilledTwoStageDetector',
    teacher=dict(config='teacher.py', checkpoint='<b>teacher.pth'),
    distill=dict(roi_logits=dict(type='btkd_det.BTKDLoss')))
"""


def step(i, **entries):
    line = {'lr': 0.1, 'loss': 2.0 / i, 'loss_cls': 1.0 / i, 'time': 0.5, 'epoch': (i + 1) // 2}
    taught = {'loss_btkd': 0.1 * i, 'right': 0.8, 'trust': 0.5, 'gamma': 0.01 * i, 'hard': 3.0}
    line |= {f'distill.roi_logits.{key}': value for key, value in taught.items()}
    return {**line, 'iter': i, 'step': i, **entries}


def validation(at, value, metric='coco/bbox_mAP'):
    return {metric: value, 'coco/bbox_mAP_l': -1.0, 'data_time': 0.1, 'time': 0.2, 'step': at}


def write_log(folder, lines, stamp='20260101_000000', end=''):
    log = folder / stamp / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(json.dumps(line) for line in lines) + '\n' + end)


TEACHER = {'teacher/coco/bbox_mAP': 0.5, 'step': 0}
LINES = [TEACHER, step(1), step(2), validation(1, 0.4), step(3), step(4), validation(2, 0.375)]


@pytest.fixture
def folder(tmp_path):
    write_log(tmp_path, LINES)
    (tmp_path / 'student.py').write_text(CONFIG)
    (tmp_path / 'student_plain.py').write_text('')
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/epoch_2.pth')
    return tmp_path


def page_of(folder):
    return write_summary(folder).read_text()


def table(page):
    """The text of each row of the tables."""
    rows = re.findall(r'<tr>(.*?)</tr>', page)
    return [re.findall(r'>([^<]*)</t[hd]>', row.replace('<br><small>', '></td>')) for row in rows]


def test_the_numbers_of_the_page(folder):
    page = page_of(folder)
    rows = [row[:3] for row in table(page)]

    assert ['student, last validation', '0.375', 'epoch 2'] in rows
    assert ['student, best validation', '0.4', 'epoch 1'] in rows
    assert ['teacher, same data', '0.5', 'before training'] in rows
    assert ['student less teacher', '-0.125', 'epoch 2'] in rows
    assert {'seed': '3', 'sites': 'roi_logits', 'iterations': '4', 'epochs': '2'}.items() <= {
        row[0]: row[1] for row in rows if len(row) == 2
    }.items()
    assert re.search(r'right<br>.{10,200}class="value">80 %<', page)
    assert re.search(r'gamma<br>.{10,200}class="value">0.04<', page)
    assert f'python tools/test.py {folder}/student.py {folder}/epoch_2.pth' in page


def test_terms_that_the_last_line_lacks_are_the_last_known(tmp_path):
    plain = lambda i: {k: v for k, v in step(i).items() if not k.startswith('distill.')}
    silent = {'distill.fpn.loss_pkd': 7.5}
    write_log(tmp_path, [step(1, **silent), step(2), step(3), plain(4)])
    (tmp_path / 'student.py').write_text(CONFIG)
    terms = page_of(tmp_path).partition('as last logged')[2]
    for name, value, at in (('gamma', '0.03', 3), ('btkd', '0.3', 3), ('pkd', '7.5', 1)):
        cell = f'>{name}<br>[^\n]{{10,200}}class="value">{value}<br><small>iteration {at}</small>'
        assert re.search(cell, terms)


def test_the_page_is_one_file_for_any_screen(folder):
    page = page_of(folder)
    titles = re.findall('<figcaption>(.*?)</figcaption>', page)
    assert [title.partition(':')[0] for title in titles] == [
        'coco/bbox_mAP of the validations',
        'The loss, and the model&#39;s own terms',
        'The terms of the distillation',
        'roi_logits',
        'roi_logits',
    ]
    assert page.count('<svg') == 5
    assert 'name="viewport"' in page
    assert 'prefers-color-scheme: dark' in page
    # Nothing is fetched; names from files are text.
    assert not re.findall(
        r'(?:src|href)="(?!data:|#|pictures/)[^"]+"', re.sub('<svg.*?</svg>', '', page, flags=re.S)
    )
    assert '&lt;b&gt;teacher.pth' in page


def test_pictures_are_linked_in_the_order_of_the_training(folder):
    (folder / 'pictures').mkdir()
    for number, color in ((2, 'red'), (10, 'green'), (3, 'blue')):
        Image.new('RGB', (30, 20), color).save(folder / 'pictures' / f'epoch_{number}.jpg')
    page = page_of(folder)
    links = re.findall(r'<a href="(.*?)">(.*?)</a>', page)
    assert links == [(f'pictures/epoch_{n}.jpg', f'epoch {n}') for n in (2, 3, 10)]
    assert re.findall(r'<img alt="(.*?)"', page) == ['annotation, teacher and student, epoch 10']


def test_a_training_that_was_killed_and_resumed(tmp_path):
    write_log(tmp_path, [step(1), step(2), step(3, loss=9.0)], end='{"lr": 0.1, "lo')
    write_log(tmp_path, [step(3), step(4), validation(2, 0.2)], '20260102_000000')
    log = read_log(tmp_path)
    assert [(line['iter'], line['loss']) for line in log.steps] == [
        (1, 2.0),
        (2, 1.0),
        (3, 2.0 / 3),
        (4, 0.5),
    ]
    assert log.validations == [(2, {'coco/bbox_mAP': 0.2, 'coco/bbox_mAP_l': -1.0})]


def training(epochs, value, length=4, every=1, by_epoch=True):
    """The log of a training that is validated in each epoch, or so many iterations."""
    lines = []
    for i in range(1, epochs * length + 1):
        if i % every == 0:
            lines.append(step(i, epoch=(i + length - 1) // length if by_epoch else 1))
        if i % length == 0:
            lines.append(validation(i // length if by_epoch else 0, value + i / 1000))
    return lines


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('every', [1, 2, 3])
def test_a_training_anew_in_the_folder_of_another(by_epoch, every, tmp_path):
    write_log(tmp_path, [TEACHER, *training(6, 0.8, 4, 2, by_epoch)])
    write_log(tmp_path, training(3, 0.1, 4, every, by_epoch), '20260102_000000')
    both = read_log(tmp_path)
    write_log(tmp_path / 'alone', training(3, 0.1, 4, every, by_epoch))
    alone = read_log(tmp_path / 'alone')
    assert both.validations == alone.validations
    assert len(alone.validations) == 3
    if by_epoch or every <= 2:
        assert both == alone


def test_a_training_that_goes_on_from_before_its_last_validation(tmp_path):
    write_log(tmp_path, [TEACHER, *training(4, 0.8)])
    write_log(tmp_path, training(3, 0.1)[10:], '20260102_000000')
    log = read_log(tmp_path)
    assert [at for at, _ in log.validations] == [1, 2, 3]
    assert log.validations[1][1]['coco/bbox_mAP'] == 0.808
    assert [line['iter'] for line in log.steps] == list(range(1, 13))
    assert log.teacher == {'coco/bbox_mAP': 0.5}


@pytest.mark.parametrize('by_epoch', [True, False])
def test_a_validation_that_is_made_up_for(by_epoch, tmp_path):
    lines = training(4, 0.1, 4, 1, by_epoch)
    write_log(tmp_path, lines[:9])
    write_log(tmp_path, lines[9:], '20260102_000000')
    write_log(tmp_path / 'whole', lines)
    assert 'lr' not in lines[9]
    assert read_log(tmp_path) == read_log(tmp_path / 'whole')


def test_iterations_without_epochs_and_names_with_a_phase(tmp_path):
    strip = lambda line: {k: v for k, v in line.items() if k != 'epoch'}
    phase = lambda name, line: {
        k if k in ('iter', 'step') else f'{name}/{k}': v for k, v in line.items()
    }
    lines = []
    for i in (10, 20):
        lines += [phase('train', strip(step(i))), phase('val', validation(0, i / 100))]
    write_log(tmp_path, lines)
    (tmp_path / 'student.py').write_text(CONFIG)
    log = read_log(tmp_path)
    assert [at for at, _ in log.validations] == [10, 20]
    assert log.steps[0]['loss_cls'] == 0.1
    assert ['student, last validation', '0.2', 'iteration 20'] in table(page_of(tmp_path))


@pytest.mark.parametrize(
    'lines',
    [
        [step(1)],
        [validation(1, 0.3)],
        [step(1, loss=float('nan')), step(2, loss=float('inf')), validation(1, float('nan'))],
        [{'lr': 0.1, 'loss': 1.0, 'iter': 1, 'step': 1}, validation(1, 31.0, 'accuracy/top1')],
    ],
    ids=['no validation', 'validation alone', 'not finite', 'no teacher'],
)
def test_what_there_is_makes_a_page(tmp_path, lines):
    write_log(tmp_path, lines)
    (tmp_path / 'student.py').write_text('import os\nos.abort()\n')
    assert '<h1>Training of student</h1>' in page_of(tmp_path)


@pytest.mark.parametrize('values', [[math.nan, 0.3, 0.2], [0.1, math.nan, 0.3, 0.2]])
def test_no_number_is_not_the_best(tmp_path, values):
    write_log(tmp_path, [step(9), *(validation(i, value) for i, value in enumerate(values, 1))])
    (tmp_path / 'student.py').write_text(CONFIG)
    best = ['student, best validation', '0.3', f'epoch {len(values) - 1}']
    assert best in table(page_of(tmp_path))
    assert read_run(str(tmp_path)).value('coco/bbox_mAP', best=True) == 0.3


def test_of_no_numbers_none_is_the_best(tmp_path):
    write_log(tmp_path, [step(9), validation(1, math.nan), validation(2, math.nan)])
    (tmp_path / 'student.py').write_text(CONFIG)
    rows = table(page_of(tmp_path))
    assert ['student, last validation', 'nan', 'epoch 2'] in rows
    assert 'student, best validation' not in [row[0] for row in rows if row]


def test_the_metric_that_a_training_is_judged_by():
    assert main_metric(['coco/bbox_mAP_50', 'coco/bbox_mAP']) == 'coco/bbox_mAP'
    assert main_metric(['b', 'a']) == 'a'
    assert main_metric([]) is None


def test_a_folder_without_a_log(tmp_path):
    with pytest.raises(ConfigError, match=r'holds no \*/vis_data/scalars.json'):
        write_summary(tmp_path)


@pytest.mark.parametrize(
    ('place', 'message'),
    [('nowhere', 'error: WORK_DIR: no folder '), ('.', 'error: RUN: ')],
)
def test_the_command_says_what_it_lacks(tmp_path, monkeypatch, place, message):
    monkeypatch.setattr(sys, 'argv', ['summary.py', str(tmp_path / place)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert str(end.value).startswith(message)


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['summary.py', str(folder)])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert capsys.readouterr().out == f'Written: {folder}/summary.html\n'
    assert '0.375' in (folder / 'summary.html').read_text()
