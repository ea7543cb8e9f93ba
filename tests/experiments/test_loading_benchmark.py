import pytest
import torch

from experiments.benchmarks import loading_benchmark, measure


@pytest.fixture
def fixed_times(monkeypatch):
    """Calls every candidate once, and gives each the time that its name says here."""
    seconds = {
        'one by one': 0.020,
        'in memory': 0.001,
        'in memory: data samples': 0.0002,
        'step': 0.099,
        'in memory and step': 0.128,
    }

    def alternate(candidates, rounds, warmup=2, device='cpu'):
        for run in candidates.values():
            run(0)
        return {name: [seconds[name]] * rounds for name in candidates}

    monkeypatch.setattr(loading_benchmark, 'alternate', alternate)
    monkeypatch.setattr(loading_benchmark, 'STRETCH', 1)


def test_numbers_follow_from_the_times(fixed_times):
    result = loading_benchmark.run(rounds=3, threads=1, images=640)
    assert result['images_per_second'] == {
        'one by one': 3200,
        'in memory': 64000,
        'in memory and step': 500,
    }
    assert result['share_of_step'] == {'one by one': 0.1681, 'in memory': 0.01}
    assert result['seconds']['step']['median'] == 0.099
    assert result['environment']['threads'] == 1
    assert result['environment']['commit'] == measure.environment()['commit']


def test_the_threads_are_set_back_even_after_an_error(monkeypatch):
    def measure_nothing(*args):
        raise MemoryError

    monkeypatch.setattr(loading_benchmark, '_measure', measure_nothing)
    before = torch.get_num_threads()
    with pytest.raises(MemoryError):
        loading_benchmark.run(threads=before + 1)
    assert torch.get_num_threads() == before
