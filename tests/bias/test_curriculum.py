import math

import pytest
import torch

from btkd_det.bias import curriculum
from btkd_det.bias.curriculum import coefficient
from btkd_det.errors import ConfigError

RIGHT = torch.tensor([True, True, True, False])


@pytest.mark.parametrize(('progress', 'gamma'), [(0.0, 0.0), (0.25, 0.1464466094067263), (1, 1)])
def test_cosine_is_the_published_coefficient(progress, gamma):
    assert coefficient(progress) == pytest.approx(gamma)
    as_tensor = coefficient(torch.tensor(float(progress), dtype=torch.float64))
    assert as_tensor.item() == pytest.approx(gamma)
    assert gamma == pytest.approx(1 - math.cos(math.pi / 2 * progress) ** 2)


def test_linear_is_progress_itself():
    assert coefficient(0.3, 'linear') == 0.3


def test_subset_weighs_each_part_by_its_own_count():
    weights = curriculum(RIGHT, 0.25, 'linear', 'subset')
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.25, 0.25, 0.25]))
    weights = curriculum(RIGHT, 0.5, 'linear', 'subset')
    torch.testing.assert_close(weights, torch.tensor([0.5 / 3, 0.5 / 3, 0.5 / 3, 0.5]))


def test_all_weighs_both_parts_by_the_batch():
    weights = curriculum(RIGHT, 0.25, 'linear', 'all')
    torch.testing.assert_close(weights, torch.tensor([0.75, 0.75, 0.75, 0.25]) / 4)


def test_without_a_schedule_all_rows_weigh_the_same():
    for normalize in ('subset', 'all'):
        weights = curriculum(RIGHT, None, 'none', normalize)
        torch.testing.assert_close(weights, torch.full((4,), 0.25))


@pytest.mark.parametrize('schedule', ['none', 'linear', 'cosine'])
def test_dropped_rows_weigh_nothing_and_the_others_the_same(schedule):
    kept = curriculum(RIGHT, 0.5, schedule)
    dropped = curriculum(RIGHT, 0.5, schedule, drop_wrong=True)
    torch.testing.assert_close(dropped, kept * RIGHT)


@pytest.mark.parametrize('normalize', ['subset', 'all'])
def test_a_tensor_of_progress_gives_the_same(normalize):
    for schedule in ('linear', 'cosine'):
        torch.testing.assert_close(
            curriculum(RIGHT, torch.tensor(0.4), schedule, normalize),
            curriculum(RIGHT, 0.4, schedule, normalize),
        )


def test_a_missing_part_weighs_nothing_and_breaks_nothing():
    everything, nothing = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    torch.testing.assert_close(curriculum(everything, 0.25, 'linear'), torch.full((3,), 0.25))
    torch.testing.assert_close(curriculum(nothing, 0.75, 'linear'), torch.full((3,), 0.25))
    assert curriculum(everything[:0], 0.5).shape == (0,)


def test_dtype_and_total():
    weights = curriculum(RIGHT, 0.3, total=4, dtype=torch.float64)
    assert weights.dtype == torch.float64
    assert weights.sum().item() == pytest.approx(4, abs=1e-12)


@pytest.mark.parametrize('schedule', ['cosine', 'linear', 'none'])
@pytest.mark.parametrize('normalize', ['subset', 'all'])
@pytest.mark.parametrize('drop_wrong', [False, True])
def test_total_is_a_factor_of_every_weight(schedule, normalize, drop_wrong):
    options = dict(schedule=schedule, normalize=normalize, drop_wrong=drop_wrong)
    once, twice = (curriculum(RIGHT, 0.3, total=total, **options) for total in (1, 2))
    torch.testing.assert_close(twice, once * 2)


@pytest.mark.parametrize('total', [1, 2, 512])
def test_what_the_weights_add_up_to(total):
    right = torch.tensor([True, True, True, False])
    sums = {
        (schedule, normalize): curriculum(right, 0.25, schedule, normalize, total=total).sum()
        for schedule in ('linear', 'none')
        for normalize in ('subset', 'all')
    }
    assert sums['linear', 'subset'] == pytest.approx(total)
    assert sums['linear', 'all'] == pytest.approx(total * (0.75 * 3 + 0.25) / 4)
    assert sums['none', 'subset'] == sums['none', 'all'] == pytest.approx(total)


def test_unknown_names():
    with pytest.raises(ConfigError, match="schedule: 'cos' .*; valid: cosine"):
        curriculum(RIGHT, 0.5, 'cos')
    with pytest.raises(ConfigError, match="normalize: 'n'; valid: subset, all"):
        curriculum(RIGHT, 0.5, 'cosine', 'n')
