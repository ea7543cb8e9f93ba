"""No number of any site changes where code moves."""

import json

import pytest

from .golden_sites import CASES, FILE, is_possible, machine, run

RECORDED = json.loads(FILE.read_text())


def test_every_case_is_on_file():
    assert list(RECORDED['cases']) == list(CASES)


@pytest.mark.parametrize('name', CASES)
def test_the_losses_of_three_steps_are_those_on_file(name):
    if not is_possible(name):
        pytest.skip('needs mmrazor: btkd_det[mmrazor]')
    # On the same kernels nothing but the rounding of a formula may differ, which is seen from the
    # seventh digit on, and from the sixth once weights were learned with it. Other kernels (tried:
    # those without vector instructions) move the fourth.
    here = RECORDED['machine'] == machine()
    steps = run(name)
    for number, (step, expected) in enumerate(zip(steps, RECORDED['cases'][name], strict=True)):
        assert list(step) == list(expected), f'step {number}'
        tolerance = (1e-5 if number else 1e-6) if here else 1e-3
        for key, values in expected.items():
            assert step[key] == pytest.approx(values, rel=tolerance, abs=1e-9), (number, key)
