"""Four of the kills of the study, whose command is in the module."""

import random

import pytest

from .kills import PHASES, Study
from .trial import prepare


@pytest.mark.parametrize(
    ('loop', 'phases'), [('epochs', PHASES[1:]), ('iterations', (PHASES[0], PHASES[1]))]
)
def test_killed_trainings_end_as_the_one_that_nobody_killed(loop, phases, tmp_path):
    prepare()
    study, rng = Study(tmp_path, loop, workers=0), random.Random(loop)
    for phase in phases:
        found = study.kill(rng, phase)
        if not found['killed']:
            # The moment was late, and this run was done sooner than the one that it was drawn for.
            found = study.kill(rng, phase)
        assert found['killed'], found
        assert (found['exit_code'], found['differs'], found['left_over']) == (0, [], []), found
