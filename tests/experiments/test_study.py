"""A study file is held against what is valid, and knows which runs are the same training."""

from pathlib import Path

import pytest

from btkd_det.errors import ConfigError
from experiments.lab.study import Run, read_study

from .studies import CONTENT, TRIALS, TUNING, study

STUDIES = sorted((Path(__file__).parents[2] / 'experiments' / 'studies').glob('*.py'))


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_studies_of_the_repository_are_valid(path):
    found = read_study(path)
    assert found.name == path.stem
    assert found.final_runs()
    assert set(found.references) == {'alone', 'kd'}
    for arm in found.arms:
        assert found.run_hash(Run(next(iter(found.cells)), arm))


def test_runs_go_seed_by_seed():
    keys = [run.key for run in study().final_runs()]
    assert keys[:4] == ['good/alone/seed0', 'good/kd/seed0', 'noisy/alone/seed0', 'noisy/kd/seed0']
    assert [key[-1] for key in keys] == list('00001111')


def test_what_an_arm_is_a_part_of_does_not_change_its_training():
    plain, part = study(), study()
    part.arms['kd']['part'] = 'alone'
    assert part.run_hash(Run('good', 'kd')) == plain.run_hash(Run('good', 'kd'))
    assert (part.is_part('kd'), part.whole('kd'), part.whole('alone')) == (True, 'alone', None)


def test_a_trial_changes_its_arm_alone():
    tuned = study(tuned=True)
    assert [run.key for run in tuned.tuning_runs()] == [
        'tuning/good/kd/trial0/seed100',
        'tuning/good/kd/trial1/seed100',
    ]
    assert tuned.arm('kd', 1)['host_weight'] == 0.3
    assert tuned.arm('kd', 1)['distill']['logits']['loss_weight'] == 0.7
    assert tuned.arm('kd')['host_weight'] == 0.5


def test_a_hash_is_that_of_the_training():
    plain, tuned = study(), study(tuned=True)
    kd, alone = Run('good', 'kd'), Run('good', 'alone')
    assert plain.run_hash(kd) == tuned.run_hash(kd)
    assert tuned.run_hash(kd, 0) != tuned.run_hash(kd, 1)
    # Without a teacher, the cell's makes no difference; what the student sees does.
    assert plain.run_hash(alone) == plain.run_hash(Run('noisy', 'alone'))
    assert plain.run_hash(kd) != plain.run_hash(Run('noisy', 'kd'))
    cells = dict(good={}, noisy=dict(student=dict(label_noise=0.5)))
    assert study(cells=cells).run_hash(alone) != study(cells=cells).run_hash(Run('noisy', 'alone'))


def test_cells_share_a_teacher_of_the_same_training():
    noise = dict(label_noise=0.5)
    found = study(cells=dict(one=dict(teacher=noise), two=dict(teacher=noise, student=noise), c={}))
    assert found.teacher_hash('one') == found.teacher_hash('two') != found.teacher_hash('c')


ALONE_TWICE = dict(CONTENT['arms'], kd=dict(CONTENT['arms']['kd'], trials=TRIALS[:1]))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(seed=[0]), "unknown entry 'seed'.*did you mean 'seeds'"),
        (dict(kind='regression'), "kind is 'regression'"),
        (dict(arms={}), 'arms is missing'),
        (dict(arms=dict(a=dict(ce_weight=1)), references={}), "arms.a has 'ce_weight'"),
        (
            dict(arms=dict(alone={}, kd=dict(part='alon')), references={}),
            "arms.kd.part is 'alon'.*did you mean 'alone'",
        ),
        (dict(arms=dict(a=dict(part=3)), references={}), 'arms.a.part is 3'),
        (dict(arms=dict(teacher={})), "'teacher' cannot be a name"),
        (dict(cells=dict(good=dict(noise=1))), "cells.good has 'noise'"),
        (dict(references=dict(alone='student')), "references.alone is 'student'"),
        (dict(schedule=None), 'schedule is missing'),
        (dict(arms=ALONE_TWICE), 'trials without an entry tuning'),
        (dict(arms=ALONE_TWICE, tuning=TUNING), 'kd has 1 trials; valid: as many as every arm'),
        (dict(tuning=dict(TUNING, seeds=[1])), 'tuning.seeds has 1'),
        (dict(tuning=dict(TUNING, cells=['goood'])), "names 'goood'.*did you mean 'good'"),
        (dict(tuning=dict(trials=2)), 'tuning has trials'),
    ],
)
def test_what_is_not_valid_is_told(changes, message):
    with pytest.raises(ConfigError, match=message):
        study(**changes)
