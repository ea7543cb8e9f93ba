"""Some random mutations of the shipped configs; 500 of them: the module's command."""

import pytest

from .fuzz_configs import CONFIGS, run
from .trial import prepare

COUNT = 30


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    prepare()
    return tmp_path_factory.mktemp('fuzz')


@pytest.mark.parametrize('index', range(COUNT))
def test_a_mutated_config_takes_a_step_or_gives_one_line(index, folder):
    what, outcome = run(index, 1, folder)
    assert outcome.verdict in ('trained', 'refused'), f'{what}\n{outcome.text[-3000:]}'


def test_the_shipped_configs_train_as_they_are(folder):
    _, outcome = run(COUNT, 1, folder, mutated=False)
    assert outcome.verdict == 'trained', outcome.text[-3000:]
    assert len(CONFIGS) == 6
