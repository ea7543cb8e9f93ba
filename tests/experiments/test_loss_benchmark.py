"""What BTKD costs beside its host: the number of its operators, and that it can be measured."""

import json

import pytest
import torch

from experiments.benchmarks import loss_benchmark
from experiments.benchmarks.benchmark_table import benchmark_table
from experiments.benchmarks.measure import count_operators, quartiles


@pytest.fixture(scope='module')
def result():
    return loss_benchmark.run(rounds=10, threads=1, shapes=[(16, 3), (512, 81)])


# The robust form keeps three running statistics, each of some 25 operators on a few numbers.
@pytest.mark.parametrize(('name', 'most'), [('btkd-paper', 2.0), ('btkd', 5.0)])
@pytest.mark.parametrize('kind', ['all', 'kernels'])
def test_btkd_takes_few_operators_beside_its_host(result, name, most, kind):
    host = result['operators']['host'][kind]
    assert host < result['operators'][name][kind] <= most * host


def test_the_host_alone_takes_one_softmax_of_each():
    step = loss_benchmark._step(loss_benchmark._build('host', 'meta'), 'meta')
    assert count_operators(step)['kernels'] <= 29


def test_operators_are_counted_with_and_without_views():
    rows = torch.ones(2, 3, device='meta', requires_grad=True)
    counted = count_operators(lambda: (rows.unsqueeze(0) * 2).sum().backward())
    # unsqueeze, mul, sum; ones_like, expand, mul, squeeze, detach.
    assert counted == dict(all=8, kernels=4)


def test_the_ratios_of_a_run(result):
    small, loop = result['shapes']
    assert (small['rows'], small['classes']) == (16, 3)
    for part in (small, loop):
        for name in ('btkd-paper', 'btkd'):
            spread = part['quartiles_of_btkd_to_host'][name]
            assert 0 < spread['lower'] <= spread['median'] <= spread['upper']
            assert part['btkd_to_host'][name] == spread['median']
    assert 'row by row' not in small['seconds']
    assert loop['loop_to_btkd'] > 1
    assert result['setting']['clock'] == 'thread_time'
    text = benchmark_table(json.loads(json.dumps(result)))
    assert '512 x 81 logits' in text
    assert 'BTKD around KD / KD alone: btkd-paper' in text


def test_quartiles():
    assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == dict(lower=2.0, median=3.0, upper=4.0)
