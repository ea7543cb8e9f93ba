"""Tables say what the results say, and no more; a page that is stale is found."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from btkd_det.errors import ConfigError
from experiments.lab.comparisons import differences, samples
from experiments.lab.page import gain_marks, gains, markdown, marks, write_between
from experiments.lab.plots import picture_data
from experiments.lab.results import Results
from experiments.lab.study import Run

from .studies import CONTENT, study

ROOT = Path(__file__).parents[2]


def load_tables():
    spec = importlib.util.spec_from_file_location('tables', ROOT / 'experiments' / 'tables.py')
    module = importlib.util.module_from_spec(spec)
    first = sys.path[0]
    spec.loader.exec_module(module)
    sys.path[0] = first
    return module


tables = load_tables()
BY_ARM = {
    ('good', 'alone'): [50.0, 50.4, 49.8, 50.1],
    ('good', 'kd'): [55.0, 55.2, 54.9, 55.3],
    ('noisy', 'alone'): [50.0, 50.4, 49.8, 50.1],
    ('noisy', 'kd'): [50.6, 49.6, 50.5, 49.8],
}


@pytest.fixture
def results(tmp_path):
    """The results of four seeds of the tiny study."""
    found = Results(study(seeds=[0, 1, 2, 3]), tmp_path / 'results')
    common = dict(config_hash='0', commit='abc', dirty=False, machine=dict(device='a CPU'))
    for (cell, arm), values in BY_ARM.items():
        for seed, value in enumerate(values):
            entries = dict(common, cell=cell, arm=arm, seed=seed, test=dict(top1=value))
            found.write(Run(cell, arm, seed), entries)
    right = dict(by_the_students_labels=80.0, by_the_clean_labels=70.0)
    found.write(Run('noisy'), dict(common, test=dict(top1=36.0), right_on_training_images=right))
    return found


def test_the_table_says_what_is_more_than_chance(results):
    text = markdown(results.study, results)

    assert '| KD | 55.1 ± 0.2 | 4 | **+5.0 [+4.8, +5.3]**, p < 0.001 |  |' in text
    assert '| KD | 50.1 ± 0.5 | 4 | +0.1 [-1.1, +1.2], no difference found |  |' in text
    assert '| alone | 50.1 ± 0.3 | 4 |  |  |' in text
    assert 'by Holm for all 2 comparisons' in text
    teacher = 'Teacher: 36.0 on the test images; right on 80.0 % of the training images by their'
    assert f'**Noisy.** {teacher} labels, 70.0 % by the clean ones.' in text
    assert '16 runs at abc on a CPU.' in text


def test_parts_are_corrected_apart(results):
    differ = lambda: differences(results.study, samples(results.study, results))
    before = {(d.cell, d.arm): d for d in differ()}
    results.study.arms['part'] = dict(results.study.arms['kd'], part='kd')
    common = dict(config_hash='0', commit='abc', dirty=False, machine=dict(device='a CPU'))
    for seed, value in enumerate([50.0, 50.5, 49.9, 50.3]):
        entries = dict(common, cell='good', arm='part', seed=seed, test=dict(top1=value))
        results.write(Run('good', 'part', seed), entries)
    found = {(d.cell, d.arm): d for d in differ()}
    assert found['good', 'kd'] == before['good', 'kd']
    # Against the student alone and against KD: two of its kind.
    assert found['good', 'part'].p < found['good', 'part'].corrected_p
    text = markdown(results.study, results)
    assert 'by Holm for all 2 comparisons of the study, parts apart for their 2; p is' in text


def test_one_seed_claims_nothing(results):
    for run in results.study.final_runs():
        if run.seed:
            results.path(run).unlink()
    text = markdown(results.study, results)
    assert '+5.0 (chance not known)' in text
    assert '**+' not in text


def test_no_runs_no_table(tmp_path):
    assert markdown(study(), Results(study(), tmp_path)) == 'No runs yet.'


def test_the_tuning_is_in_the_page(results):
    tuned = study(tuned=True, seeds=[0, 1, 2, 3])
    found = Results(tuned, results.folder.parent)
    for run, value in zip(tuned.tuning_runs(), (60.0, 61.5), strict=True):
        found.write(run, dict(validation=dict(top1=value)))
    text = markdown(tuned, found)
    assert '| KD | host_weight 0.3, distill.logits.loss_weight 0.7 | 61.50 | chosen |' in text
    assert '| KD | host_weight 0.7, distill.logits.loss_weight 0.3 | 60.00 |  |' in text


def test_tables_go_between_their_marks(results):
    start, end = marks(results.study)
    page = write_between(f'Before\n{start}\nold\n{end}\nAfter', (start, end), 'new')
    assert page == f'Before\n{start}\n\nnew\n\n{end}\nAfter'
    for text in ('', f'{end} {start}', start):
        with pytest.raises(ConfigError, match='has no lines'):
            write_between(text, (start, end), 'new')


def test_pictures_show_gains_and_errors(results):
    data = picture_data(results.study, results)
    assert [(g['cell'], g['arm'], g['seeds']) for g in data['gains']] == [
        ('good', 'kd', 4),
        ('noisy', 'kd', 4),
    ]
    assert data['errors'] == dict(noisy=64.0)
    assert json.loads(json.dumps(data)) == data


def test_a_stale_page_or_picture_is_found(results, tmp_path, monkeypatch, capsys):
    file = tmp_path / 'tiny.py'
    content = dict(CONTENT, seeds=[0, 1, 2, 3])
    file.write_text('\n'.join(f'{key} = {value!r}' for key, value in content.items()))
    docs = tmp_path / 'docs'
    docs.mkdir()
    (docs / 'results.md').write_text('\n'.join(marks(results.study)))
    command = ['tables.py', str(file), '--results', str(tmp_path / 'results'), '--docs', str(docs)]

    def call(*options):
        monkeypatch.setattr(sys, 'argv', [*command, *options])
        try:
            tables.main()
        except SystemExit as end:
            return end.code
        return 0

    readme = tmp_path / 'README.md'
    readme.write_text('\n'.join(gain_marks(results.study)))
    assert call('--check').count('tiny in') == 2
    assert not (docs / 'pictures').exists()
    assert call() == 0
    assert call('--check') == 0
    table = gains(results.study, results)
    assert table in readme.read_text()
    assert '| good | **+' in table
    assert {path.name for path in (docs / 'pictures').iterdir()} == {
        'tiny.json',
        'tiny_gain.png',
        'tiny_arms.png',
    }
    # Another result makes both stale; a picture that is gone makes the pictures so.
    path = results.path(Run('good', 'kd', 0))
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(dict(entries, test=dict(top1=57.0))))
    assert 'pictures of tiny' in call('--check')
    assert call() == 0
    (docs / 'pictures' / 'tiny_gain.png').unlink()
    assert (
        call('--check') == 'stale: pictures of tiny; python experiments/tables.py writes them anew'
    )


def test_the_pages_tables_are_those_of_the_results():
    files = sorted(map(str, (ROOT / 'experiments' / 'studies').glob('*.py')))
    args = type(
        'Args', (), dict(results=ROOT / 'experiments/results', docs=ROOT / 'docs', check=True)
    )
    assert [name for file in files for name in tables.update(file, args)] == []
