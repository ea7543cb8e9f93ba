"""Trainings beside each other: read from their work dirs, held against one of them, drawn."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from btkd_det.errors import ConfigError
from btkd_det.report.comparison import compare, draw, grouped
from btkd_det.report.intervals import paired_interval, unpaired_interval
from btkd_det.report.runs import common_metric, read_run

TOOL = Path(__file__).parents[2] / 'tools' / 'compare.py'


def work_dir(folder, config, seed, values, metric='coco/bbox_mAP', stamp='20260101_000000'):
    log = folder / stamp / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    lines = [dict(lr=0.1, loss=1.0, epoch=1, iter=i, step=i) for i in range(1, 4)]
    lines += [
        {metric: value, 'data_time': 0.1, 'time': 0.2, 'step': i}
        for i, value in enumerate(values, 1)
    ]
    log.write_text('\n'.join(json.dumps(line) for line in lines) + '\n')
    (folder / f'{config}.py').write_text(f'randomness = dict(seed={seed})\n')
    (folder / f'{config}_plain.py').write_text('')
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    alone = [0.30, 0.32, 0.31]
    taught = [0.33, 0.36, 0.32]
    return [
        *(work_dir(tmp_path / f'a{s}', 'alone', s, [0.1, v]) for s, v in enumerate(alone)),
        *(work_dir(tmp_path / f'b{s}', 'btkd', s, [v + 0.1, v]) for s, v in enumerate(taught)),
    ]


def test_a_distilled_run_of_the_same_config_has_a_name_of_its_own(tmp_path):
    alone, taught = (work_dir(tmp_path / name, 'mine', 0, [0.3]) for name in ('a', 'b'))
    log = next(Path(taught).glob('*/vis_data/scalars.json'))
    text = log.read_text()
    entries = {'distill.roi_logits.loss_btkd': 1.0, 'distill.fpn.loss_pkd': 2.0}
    entries['distill.roi_logits.right'] = 0.5
    log.write_text(text.replace('"lr"', f'{json.dumps(entries)[1:-1]}, "lr"'))
    assert [read_run(run).name for run in (alone, taught)] == ['mine', 'mine + btkd + pkd']
    assert read_run(f'x={taught}').name == 'x'


def test_a_folder_may_have_an_equals_sign(tmp_path):
    folder = work_dir(tmp_path / 'wd=0.1' / 'lr=0.1', 'mine', 0, [0.3])
    for text, name in ((folder, 'mine'), (f'a={folder}', 'a'), (f'lr=0.2={folder}', 'lr=0.2')):
        run = read_run(text)
        assert (run.name, str(run.folder)) == (name, folder)
    with pytest.raises(ConfigError, match='RUN: nowhere holds no'):
        read_run('a=nowhere')


def rows_of(folders, **options):
    runs = [read_run(folder) for folder in folders]
    return compare(grouped(runs), common_metric(runs), **options)


def test_the_last_validation_paired_by_seed(folders):
    alone, taught = rows_of(folders)

    assert alone.values == (0.30, 0.32, 0.31)
    assert (alone.difference, alone.interval, alone.pairs) == (None, None, 0)
    assert taught.name == 'btkd'
    assert taught.pairs == 3
    assert taught.difference == pytest.approx(0.08 / 3)
    expected = stats.ttest_rel(taught.values, alone.values).confidence_interval(0.95)
    assert taught.interval == pytest.approx(tuple(expected))


def test_the_best_validation_and_another_reference(folders):
    alone, taught = rows_of(folders, best=True, against='btkd')

    assert taught.values == pytest.approx((0.43, 0.46, 0.42))
    assert alone.difference == pytest.approx(-0.38 / 3)
    assert taught.difference is None


def test_other_seeds_are_not_paired(tmp_path):
    first = [work_dir(tmp_path / f'a{s}', 'a', s, [v]) for s, v in enumerate([0.1, 0.3, 0.2])]
    other = [work_dir(tmp_path / f'b{s}', 'b', s + 7, [v]) for s, v in enumerate([0.5, 0.4])]

    _, row = rows_of(first + other)

    assert row.pairs == 0
    test = stats.ttest_ind([0.5, 0.4], [0.1, 0.3, 0.2], equal_var=False)
    assert row.interval == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_a_resumed_run_is_one(tmp_path):
    work_dir(tmp_path, 'a', 0, [0.1, 0.2])
    work_dir(tmp_path, 'a', 0, [0.1, 0.25, 0.3], stamp='20260102_000000')
    with open(tmp_path / '20260102_000000' / 'vis_data' / 'scalars.json', 'a') as log:
        log.write('{"coco/bbox_mAP": 0.')  # killed while it wrote

    run = read_run(str(tmp_path))

    assert [step for step, _ in run.validations] == [1, 2, 3]
    assert run.value('coco/bbox_mAP') == 0.3
    assert run.validations[1][1] == {'coco/bbox_mAP': 0.25}


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda folders: [*folders, str(Path(folders[0]).parent)], 'no \\*/vis_data/scalars.json'),
        (lambda folders: [*folders, folders[0]], 'both alone with the seed 0'),
    ],
    ids=['no work dir', 'the same twice'],
)
def test_what_cannot_be_compared(folders, change, said):
    with pytest.raises(ConfigError, match=f'RUN: .*{said}'):
        rows_of(change(folders))


def test_a_run_that_was_not_validated(tmp_path):
    folder = work_dir(tmp_path / 'a', 'a', 0, [])

    with pytest.raises(ConfigError, match='no validation has been finished'):
        read_run(folder)


def test_metrics_that_not_all_have(tmp_path):
    first = work_dir(tmp_path / 'a', 'a', 0, [0.1])
    other = work_dir(tmp_path / 'b', 'b', 0, [60.0], metric='accuracy/top1')

    with pytest.raises(ConfigError, match='--metric: None was not measured .* valid.*: none'):
        rows_of([first, other])
    with pytest.raises(ConfigError, match='--metric: coco/bbox_mAP was not measured in .*b;'):
        common_metric([read_run(first), read_run(other)], 'coco/bbox_mAP')


def test_nothing_is_known_of_chance_by_one_run_or_by_equal_ones():
    assert paired_interval([1.0]) is None
    assert paired_interval([1.0, 1.0, 1.0]) is None
    assert unpaired_interval([1.0, 2.0], [3.0]) is None
    assert unpaired_interval([1.0, 1.0], [3.0, 3.0]) is None


def test_the_curves_are_drawn(folders, tmp_path):
    named = [f'$\\frac{{x={folder}' for folder in folders[:3]] + folders[3:]
    groups = grouped([read_run(folder) for folder in named])
    draw(groups, 'coco/bbox_mAP', tmp_path / 'curves.png')

    pixels = np.asarray(Image.open(tmp_path / 'curves.png').convert('RGB')).reshape(-1, 3)
    for color in ((31, 119, 180), (255, 127, 14)):
        assert (pixels == color).all(axis=1).sum() > 50


def test_the_tool(folders, tmp_path):
    done = subprocess.run(
        [sys.executable, TOOL, *folders, '--out', tmp_path / 'out'], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith('btkd'))
    assert re.search(r'33\.7 ± 2\.1 +3 +\+2\.7 +\[[-+]\d\.\d, \+\d\.\d\]', line), line
    assert 'paired by seed' in done.stdout
    written = json.loads((tmp_path / 'out' / 'comparison.json').read_text())
    assert written['runs']['alone'] == folders[:3]
    assert (tmp_path / 'out' / 'curves.png').stat().st_size > 5000


def test_the_tool_says_what_it_lacks(tmp_path):
    done = subprocess.run([sys.executable, TOOL, str(tmp_path)], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith(f'error: RUN: {tmp_path} holds no')
    assert done.stderr.count('\n') == 1
