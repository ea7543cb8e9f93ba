"""A fifth of the bad inputs, each trained on in a forked process; all: the module's command."""

import pytest

from .bad_inputs import ALL, run
from .trial import prepare

FIFTH = ALL[::5]


def test_the_list_is_long_and_of_every_kind():
    assert len(ALL) >= 200
    kinds = {case.name.partition('/')[0] for case in FIFTH}
    assert kinds == {case.name.partition('/')[0] for case in ALL}


@pytest.fixture(scope='module', autouse=True)
def _prepared():
    prepare()


@pytest.mark.parametrize('case', FIFTH, ids=lambda case: case.name)
def test_bad_input_is_one_line_before_training_or_trains(case):
    outcome = run(case)
    assert case.fault(outcome) is None, outcome.text[-3000:]
