"""All benchmarks in one command: rehearsed at small size, piece by piece, and gone on with."""

import argparse
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from btkd_det.preflight.reading import load_config
from experiments.benchmarks import benchmark_suite, pages, scale_benchmark, start_benchmark
from experiments.benchmarks.benchmark_table import benchmark_table
from experiments.benchmarks.cost_tables import TABLES, Files
from experiments.benchmarks.measure import allocated, peak_memory
from experiments.benchmarks.models import image_batch, image_size

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def rehearsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('benchmarks')
    command = [sys.executable, 'tools/benchmark.py', 'all', '--small', '--minutes', '30']
    command += ['--folder', str(folder), '--out', str(folder / 'all.json')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_piece_leaves_its_file(rehearsed):
    status = json.loads((rehearsed / 'all.json').read_text())['pieces']
    assert list(status) == list(benchmark_suite.pieces('cpu', small=True))
    logs = {name: (rehearsed / f'{name}-cpu.log').read_text()[-1500:] for name in status}
    assert all(text.startswith('done in') for text in status.values()), (status, logs)
    for name in status:
        found = json.loads((rehearsed / f'{name}-cpu.json').read_text())
        assert found['command'].startswith('python ')
        assert '/' not in found['command'].split()[1].removeprefix('tools/')


def test_the_figures_of_a_rehearsal(rehearsed):
    read = Files(rehearsed).read
    assert read('tests')['exit_code'] == 0
    dense = {part['head']: part for part in read('dense')['heads']}
    assert list(dense['ATSS']['ratio_to_own']) == ['dense_logits: KD', *_BTKD]
    assert list(dense['GFL']['ratio_to_own'])[-1] == 'dense_boxes: sides'
    for part in dense.values():
        assert all(ratio > 0 for ratio in part['ratio_to_own'].values())
        # Two tensors of logits, and what is kept for the backward pass.
        assert part['peak_to_own']['dense_logits: KD'] > 1
    teacher = read('teacher')
    assert teacher['time_to_as_it_is']['as it is'] == 1
    # Folding changes nothing but the rounding, and half precision a hundredth.
    assert teacher['relative_difference']['mixed precision, bfloat16'] < 0.05
    assert teacher['relative_difference']['folded'] < 0.05
    steps = read('steps-amp')
    assert steps['setting']['amp'] == 'bfloat16'
    held = steps['memory']
    assert held['floor_bytes'] == sum(held['parts'].values())
    assert all(ratio > 0.9 for ratio in held['peak_to_floor'].values())
    scale = read('scale')
    assert list(scale['axes']['batch']['seconds']) == ['1']
    # The number of rows that count; and what three estimates and trust count.
    assert scale['all_reduced']['plain'] == 0
    assert 0 < scale['all_reduced']['roi_logits: btkd'] < 1000


_BTKD = ['dense_logits: btkd-paper', 'dense_logits: btkd']


def test_what_is_done_is_not_done_again(rehearsed, capsys):
    again = benchmark_suite.run(small=True, folder=rehearsed)
    assert set(again['pieces'].values()) == {'done before'}
    assert 'seconds_in_all' in again
    assert benchmark_table(again) == ''


def test_a_piece_that_fails_is_named_and_the_next_goes_on(tmp_path, monkeypatch, capsys):
    commands = dict(
        bad=['losses', '--shapes', 'x'], late=['evaluation', '--images', '9', '--rounds', '1']
    )
    monkeypatch.setattr(benchmark_suite, 'pieces', lambda device, small: commands)
    found = benchmark_suite.run(small=True, folder=tmp_path)['pieces']
    assert found['bad'].startswith('exit code 2: ')
    assert 'bad-cpu.log' in found['bad']
    assert found['late'].startswith('done in')
    found = benchmark_suite.run(small=True, folder=tmp_path / 'other', minutes=0)['pieces']
    assert set(found.values()) == {'no time left'}


def test_a_piece_is_ended_when_the_time_is_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_suite, 'LONGEST', 1)
    monkeypatch.setattr(benchmark_suite, 'pieces', lambda *_: dict(losses=['losses']))
    assert benchmark_suite.run(folder=tmp_path)['pieces'] == dict(losses='ended after 1 s')
    assert not (tmp_path / 'losses-cpu.json').is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason='is about machines without a GPU')
def test_without_a_gpu_it_says_so(tmp_path):
    with pytest.raises(SystemExit, match='error: --device cuda: PyTorch finds no GPU'):
        benchmark_suite.run(device='cuda', folder=tmp_path)


def test_an_unknown_piece(tmp_path):
    with pytest.raises(SystemExit, match="error: --only: 'step'; valid: .*steps"):
        benchmark_suite.run(only=['step'], folder=tmp_path)


def test_sizes():
    assert image_size('800x1333') == (800, 1333)
    assert image_size('64') == (64, 64)
    for text in ('1x2x3', 'x', '', '-5', '0'):
        with pytest.raises(argparse.ArgumentTypeError, match='valid: such as 800x1333'):
            image_size(text)
    batch = image_batch((48, 96), 2, seed=0, classes=3)
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 48, 96)] * 2
    boxes = batch['data_samples'][0].gt_instances
    assert boxes.bboxes[:, 2].max() <= 96
    assert boxes.bboxes[:, 3].max() <= 48
    assert boxes.labels.max() < 3


def test_peak_memory_is_what_is_held_at_once():
    def two(_):
        first = torch.zeros(1000, 1000)
        del first
        return torch.zeros(500, 1000) + torch.ones(500, 1000)

    # Two of 2 MB and their sum are more than the one of 4 MB that is gone.
    assert peak_memory(two, 'cpu') == pytest.approx(6_000_000, rel=0.01)
    assert allocated(torch.nn.BatchNorm1d(10)) == 4 * 40 + 8


@pytest.mark.parametrize('power', [0, 1, 2])
def test_growth_is_the_power(power):
    values = [1, 2, 4, 8]
    assert scale_benchmark.growth(values, [3 * v**power for v in values]) == pytest.approx(power)
    assert scale_benchmark.growth([1], [2.0]) is None
    assert scale_benchmark.growth(values, [1, 0, 1, 1]) is None


def test_bytes_that_are_sent_are_counted(monkeypatch):
    sent = []
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda tensor, *args: sent.append(tensor))

    def step(_):
        torch.distributed.all_reduce(torch.zeros(3))
        torch.distributed.all_reduce(torch.zeros(2, dtype=torch.float64), 'op')

    assert scale_benchmark.all_reduced(step) == 28
    assert len(sent) == 2


def test_the_costs_on_the_pages_are_those_of_the_files():
    assert pages.update(check=True) == []


def test_a_changed_figure_makes_a_page_stale(tmp_path):
    (tmp_path / 'docs').mkdir()
    for page in pages.PLACES:
        (tmp_path / page).write_text((ROOT / page).read_text())
    results = tmp_path / 'results'
    results.mkdir()
    for file in Files().folder.glob('*.json'):
        (results / file.name).write_text(file.read_text())
    assert pages.update(True, tmp_path, Files(results)) == []
    changed = json.loads((results / 'steps-cpu.json').read_text())
    changed['ratio_to_floor']['fpn: PKD'] = 7.77
    (results / 'steps-cpu.json').write_text(json.dumps(changed))
    stale = ['README.md', 'docs/performance.md']
    assert pages.update(True, tmp_path, Files(results)) == stale
    assert pages.update(False, tmp_path, Files(results)) == stale
    assert '| 7.77 |' in (tmp_path / 'README.md').read_text()
    (results / 'steps-amp-cuda.json').unlink()
    assert 'not measured' in TABLES['costs'](Files(results), 'README.md')


def test_the_first_step_of_a_command_is_timed(tmp_path):
    first_step = start_benchmark._first_step
    waits = 'import os, time; time.sleep(0.3); open(os.environ["FIRST_STEP"], "w")'
    assert 0.3 < first_step([sys.executable, '-c', waits], tmp_path, '0') < 30
    with pytest.raises(RuntimeError, match=r'(?s)made no step: .*no such thing'):
        first_step([sys.executable, '-c', 'raise SystemExit("no such thing")'], tmp_path, '1')


def test_the_commands_that_start_are_whole(tmp_path):
    commands = start_benchmark._commands(tmp_path, 4)
    assert list(commands) == ["MMDetection's", 'plain', 'distilled']
    for command in commands.values():
        assert all(Path(part).is_file() for part in command if part.startswith('/'))
    sys.modules['end_after_one_step'] = types.ModuleType('end_after_one_step')
    student = load_config(str(tmp_path / 'student.py'))
    del sys.modules['end_after_one_step']
    assert Path(student.train_dataloader.dataset.data_root).is_dir()
    assert student.custom_hooks == [dict(type='EndAfterOneStep')]
