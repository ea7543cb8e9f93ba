"""Statistics against values computed by hand, or from tables."""

import math

import pytest
from scipy import stats

from btkd_det.errors import ConfigError
from experiments.lab.comparisons import Sample, compare, corrected, differences, holm, samples
from experiments.lab.results import Results

from .studies import study


def sample(*values):
    return Sample(dict(enumerate(values)))


def test_a_paired_difference_is_students():
    found = compare('good', 'kd', 'alone', [1.0, 2.0, 3.0])
    # Mean 2, deviation 1, t = 2 sqrt(3); the 97.5 % point of t at 2 degrees is 4.302653.
    assert found.mean == 2
    half = 4.302653 / math.sqrt(3)
    assert found.interval == pytest.approx((2 - half, 2 + half), abs=1e-5)
    # The distribution at 2 degrees in closed form: 1 - t / sqrt(t^2 + 2).
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert found.p == pytest.approx(stats.ttest_rel([2, 4, 6], [1, 2, 3]).pvalue)


@pytest.mark.parametrize('pairs', [[1.5], [2.0, 2.0], [0.0, 0.0, 0.0]])
def test_nothing_is_known_of_chance_without_a_deviation(pairs):
    found = compare('good', 'kd', 'alone', pairs)
    assert found.interval is found.p is None
    assert corrected([found])[0].verdict == 'not known'


def test_holms_correction():
    adjusted, levels = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])
    assert holm([]) == ([], [])
    assert holm([0.9, 0.6])[0] == pytest.approx([1.0, 1.0])


def test_the_corrected_interval_covers_0_where_the_test_finds_nothing():
    # Alone, the second one would be called a difference: its p is 0.036.
    found = corrected(
        [
            compare('c', 'a', 'alone', [3.0, 3.2, 2.9, 3.1]),
            compare('c', 'b', 'alone', [0.5, 1.5, 2.0, 1.0]),
            compare('c', 'c', 'alone', [-2.0, -2.1, -2.2, -1.9]),
            compare('c', 'd', 'alone', [0.1, -0.2, 0.3, -0.1]),
            compare('c', 'e', 'alone', [1.0]),
        ]
    )
    assert [d.verdict for d in found] == [
        'above',
        'no difference found',
        'below',
        'no difference found',
        'not known',
    ]
    assert found[1].p < 0.05 < found[1].corrected_p
    for difference in found[:4]:
        low, high = difference.corrected_interval
        assert (low <= 0 <= high) == (difference.corrected_p >= 0.05)
        assert low < difference.interval[0] < difference.interval[1] < high or (
            difference.corrected_interval == pytest.approx(difference.interval)
        )


def test_arms_are_held_against_alone_and_kd_by_common_seeds():
    by_arm = {
        ('good', 'alone'): sample(50.0, 51.0, 52.0),
        ('good', 'kd'): sample(52.0, 54.0),
        ('noisy', 'kd'): sample(40.0, 41.0),
    }
    found = differences(study(), by_arm)
    assert [(d.cell, d.arm, d.other, d.seeds) for d in found] == [('good', 'kd', 'alone', 2)]
    assert found[0].mean == 2.5


def test_runs_of_different_configs_make_no_sample(tmp_path):
    results = Results(study(), tmp_path)
    for run, hashed in zip(study().final_runs()[::4], 'ab', strict=True):
        results.write(run, dict(seed=run.seed, config_hash=hashed, test=dict(top1=50.0)))
    with pytest.raises(ConfigError, match='good/alone has runs of 2 configs'):
        samples(study(), results)
