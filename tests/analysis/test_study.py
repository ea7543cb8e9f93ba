"""The study: its runs are the recipes', what is done stays, its table does not overstate."""

import json
import math
import statistics
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS
from scipy import stats
from torch import nn

from btkd_det.analysis import study as study_module
from btkd_det.analysis import study_table
from btkd_det.analysis.study import COMPARED, Setting, Study, done_share, write_json
from btkd_det.errors import ConfigError
from btkd_det.evaluation.teacher_agreement import agreement
from btkd_det.recipes import METHODS, recipe

ROOT = Path(__file__).parents[2]
README = ROOT / 'configs' / 'cifar100' / 'README.md'
RESULTS = README.with_name('results_20x500.json')


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A study of two methods and two seeds whose trainings are played."""
    done = []

    def play(self, method, seed, shares, stop):
        done.append((method, seed))
        return entry(method, seed, 50.0 + seed)

    monkeypatch.setattr(Study, '_train_teacher', lambda self, progress: None)
    monkeypatch.setattr(Study, '_ask_teacher', lambda self, progress: None)
    monkeypatch.setattr(Study, '_metrics_of', lambda self, folder: dict(top1=55.0))
    monkeypatch.setattr(study_module.preflight, 'check_data', lambda cfg: None)
    monkeypatch.setattr(Study, '_run', play)
    teacher = tmp_path / 'work' / 'teacher' / f'epoch_{Setting.teacher_epochs}.pth'
    teacher.parent.mkdir(parents=True)
    teacher.write_bytes(b'weights')

    def make(**changes):
        keys = dict(methods=('student', 'kd'), seeds=(0, 1)) | changes
        return Study('data', tmp_path / 'results.json', tmp_path / 'work', **keys)

    make.done = done
    make.teacher = teacher
    return make


def entry(method, seed, top1, beyond=20.0):
    return {'method': method, 'seed': seed, 'top1': top1, 'teacher/beyond_share': beyond}


def results_of(**by_method):
    """The content of a result file, from top-1 accuracies by method (``_`` for ``-``)."""
    runs = {
        f'{name}/{seed}': entry(name.replace('_', '-'), seed, top1)
        for name, numbers in by_method.items()
        for seed, top1 in enumerate(numbers)
    }
    return dict(teacher=dict(metrics=dict(top1=55.04)), runs=runs)


def test_twelve_methods_are_compared():
    assert len(COMPARED) == 12
    assert set(METHODS) - set(COMPARED) == {'teacher'}


def test_a_run_is_the_recipe_shortened(tmp_path):
    study = Study('data', tmp_path / 'r.json', tmp_path / 'work')
    cfg = study.config('btkd-ikd', 2)
    plain = recipe(
        'cifar100',
        'resnet56',
        'resnet20',
        'btkd-ikd',
        data='memory',
        classes=20,
        views=4,
        cache=str(tmp_path / 'work' / 'teacher_cache.pt'),
        teacher_checkpoint=str(tmp_path / 'work' / 'teacher' / 'epoch_12.pth'),
        data_root=str(Path('data').resolve()),
    )

    for key in ('model', 'data_preprocessor', 'train_dataloader', 'test_dataloader'):
        assert cfg[key].to_dict() == plain[key].to_dict()
    assert cfg.optim_wrapper.optimizer == plain.optim_wrapper.optimizer
    assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval == 5
    assert cfg.param_scheduler[0].milestones == [3, 4]
    assert cfg.randomness.seed == 2
    alone = study.config('student', 2)
    assert 'teacher' not in alone.model
    assert alone.train_dataloader == cfg.train_dataloader
    assert study.config('teacher', 0).train_cfg.max_epochs == 12


def test_a_config_of_a_run_can_be_written(tmp_path):
    from mmengine.config import Config

    cfg = Study('data', tmp_path / 'r.json', tmp_path / 'work').config('btkd-dkd', 0)
    cfg.dump(tmp_path / 'run.py')

    assert Config.fromfile(tmp_path / 'run.py').to_dict() == cfg.to_dict()
    assert any(hook['type'] == 'btkd_det.ChannelsLastHook' for hook in cfg.custom_hooks)


def test_what_is_finished_is_not_done_again(small):
    first = small(methods=('student',))
    first.run()
    results = small().run()

    assert small.done == [('student', 0), ('student', 1), ('kd', 0), ('kd', 1)]
    assert list(results['runs']) == ['student/0', 'student/1', 'kd/0', 'kd/1']
    assert json.loads(first.out.read_text()) == results
    assert results['schedule']['optimizer']['lr'] == 0.05
    assert results['schedule']['milestones'] == [3, 4]
    assert 'commit' in results['environment']


def test_each_run_is_written_at_once(small, monkeypatch):
    study = small(methods=('student',), seeds=(0, 1, 2))
    written = []
    monkeypatch.setattr(
        study_module, 'write_json', lambda path, content: written.append(len(content['runs']))
    )
    study.run()

    assert written == [1, 2, 3]


def test_a_failed_run_stops_the_study_and_keeps_the_others(small, monkeypatch):
    study = small(methods=('student',), seeds=(0,))
    study.run()

    def fail(*args):
        raise RuntimeError('no memory')

    monkeypatch.setattr(Study, '_run', fail)
    with pytest.raises(RuntimeError, match='no memory'):
        small().run()
    assert list(json.loads(study.out.read_text())['runs']) == ['student/0']


@pytest.mark.parametrize('change', ['setting', 'teacher'])
def test_runs_of_another_study_are_not_mixed_in(small, change):
    small(methods=('student',)).run()
    if change == 'teacher':
        small.teacher.write_bytes(b'other weights')
        other = small()
    else:
        other = small(setting=Setting(views=2))

    with pytest.raises(ConfigError, match=f'another study: {change}'):
        other.run()


def test_an_unknown_method_is_told(tmp_path):
    with pytest.raises(ConfigError, match="method: 'btkd'"):
        Study('data', tmp_path / 'r.json', tmp_path, methods=('btkd',))


def test_bfloat16_wrapper_casts_the_forward_pass_alone():
    model = nn.Linear(4, 4)
    wrapper = build_optim_wrapper(
        model, dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    )
    with wrapper.optim_context(model):
        answer = model(torch.ones(2, 4))
    wrapper.update_params(answer.float().sum())

    assert answer.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == model.weight.dtype == torch.float32


def test_channels_last_keeps_the_values():
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    hook = HOOKS.build(dict(type='btkd_det.ChannelsLastHook'))
    hook.before_train(type('Runner', (), dict(model=model)))

    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.weight, before)


def test_recorded_agreement_is_that_of_the_choices(tmp_path):
    choices = [0, 1, 1, 2]
    (tmp_path / 'choices.json').write_text(json.dumps(choices))
    metric = METRICS.build(
        dict(type='btkd_det.RecordedTeacherAgreement', choices=str(tmp_path / 'choices.json'))
    )
    labels, student = [0, 1, 2, 2], [0, 2, 2, 2]
    # In another order than that of the images.
    for i in (2, 0, 3, 1):
        metric.process(
            {},
            [
                dict(
                    sample_idx=i,
                    gt_label=torch.tensor([labels[i]]),
                    pred_label=torch.tensor([student[i]]),
                )
            ],
        )

    expected = agreement(*map(torch.tensor, (labels, student, choices)))
    assert metric.evaluate(4) == {f'teacher/{k}': v for k, v in expected.items()}
    assert expected['beyond'] == 1


def test_progress_is_read_from_the_log(tmp_path):
    assert done_share(tmp_path, 100) == 0
    log = tmp_path / 'now' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "step": 20}\n{"loss": 0.5, "step": 40}\n{"accuracy/top1": 5')

    assert done_share(tmp_path, 100) == 0.4


def test_a_file_is_complete_at_any_time(tmp_path):
    path = tmp_path / 'deep' / 'r.json'
    write_json(path, dict(a=1))
    write_json(path, dict(a=2))

    assert json.loads(path.read_text()) == dict(a=2)
    assert list(path.parent.iterdir()) == [path]


def test_least_difference_is_bonferronis():
    by_method = study_table.values(
        results_of(student=[50, 51, 52], kd=[53, 54, 55], btkd_kd=[53, 55, 57])
    )
    least, deviation, freedom = study_table.least_difference(by_method)

    # Two with the student alone, BTKD with KD.
    assert study_table.comparisons(by_method) == [
        ('kd', 'student'),
        ('btkd-kd', 'student'),
        ('btkd-kd', 'kd'),
    ]
    assert freedom == 6
    assert deviation == pytest.approx(math.sqrt((1 + 1 + 4) / 3))
    critical = stats.t.ppf(1 - 0.05 / 3 / 2, 6)
    assert least == pytest.approx(critical * deviation * math.sqrt(2 / 3))


def test_least_difference_of_two_methods_is_students_test():
    numbers = [50.0, 51.0, 52.5], [52.0, 54.5, 53.0]
    least, _, _ = study_table.least_difference(dict(zip(('student', 'kd'), numbers, strict=True)))
    gap = statistics.mean(numbers[1]) - statistics.mean(numbers[0])

    shifted = [value - gap + least for value in numbers[1]]
    assert stats.ttest_ind(numbers[0], shifted).pvalue == pytest.approx(0.05)


def test_the_table_says_what_is_more_than_chance():
    text = study_table.markdown(
        results_of(
            student=[50.0, 50.2, 50.1],
            kd=[60.0, 60.1, 60.3],
            ikd_kd=[60.1, 60.0, 60.2],
            btkd_kd=[40.0, 40.1, 40.2],
        )
    )

    assert '| teacher | 1 | 55.0 | | | |' in text
    assert '| student alone | 3 | 50.1 ± 0.1 |  |  | 20.0 ± 0.0 |' in text
    assert '| KD | 3 | 60.1 ± 0.2 | **+10.0** |  | 20.0 ± 0.0 |' in text
    assert '| KD + IKD | 3 | 60.1 ± 0.1 | **+10.0** | +0.0 | 20.0 ± 0.0 |' in text
    assert '| BTKD (KD) | 3 | 40.1 ± 0.1 | **-10.0** | **-20.0** | 20.0 ± 0.0 |' in text
    above, below, unclear = text.partition('\n\nAbove the student alone: ')[2].split('; ', 2)
    assert above == 'KD, KD + IKD'
    assert below == 'below the student alone: BTKD (KD)'
    assert unclear.startswith('not to be told from the student alone: none.')
    assert (
        'Above its host: none; below its host: BTKD (KD); not to be told from its host: KD + IKD.'
        in text
    )


def test_one_seed_tells_no_difference():
    text = study_table.markdown(results_of(student=[50.0], kd=[90.0]))

    assert '**' not in text
    assert 'no difference can be told' in text


def test_the_table_goes_between_its_marks(tmp_path):
    page = tmp_path / 'README.md'
    page.write_text('Before\n\n{}\n\nold\n\n{}\n\nAfter\n'.format(*study_table.MARKS))
    results = results_of(student=[50.0, 51.0], kd=[52.0, 53.0])
    study_table.write_table(results, page)
    study_table.write_table(results, page)

    start, end = study_table.MARKS
    table = study_table.markdown(results)
    assert page.read_text() == f'Before\n\n{start}\n\n{table}\n\n{end}\n\nAfter\n'


@pytest.mark.parametrize('text', ['', '{1} {0}', '{0}'])
def test_a_page_without_marks_is_told(text, tmp_path):
    page = tmp_path / 'README.md'
    page.write_text(text.format(*study_table.MARKS))

    with pytest.raises(ConfigError, match='--table'):
        study_table.write_table(results_of(student=[50.0]), page)
    assert page.read_text() == text.format(*study_table.MARKS)


def test_the_readmes_table_is_that_of_the_results(tmp_path):
    text = README.read_text(encoding='utf-8')
    if not RESULTS.is_file():
        assert 'The study has not been run to its end yet.' in text
        return
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    copy = tmp_path / 'README.md'
    copy.write_text(text, encoding='utf-8')
    study_table.write_table(results, copy)

    assert copy.read_text(encoding='utf-8') == text
    assert set(results['runs']) == {f'{m}/{seed}' for m in COMPARED for seed in range(3)}
    for run in results['runs'].values():
        right = run['teacher/kept'] + run['teacher/beyond']
        assert run['teacher/wrong'] + run['teacher/right'] == 2000
        assert run['top1'] == pytest.approx(right / 20, abs=0.01)
        assert run['teacher/top1'] == results['teacher']['metrics']['top1']
