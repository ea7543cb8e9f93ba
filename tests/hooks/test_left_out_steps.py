"""Steps that are left out where the gradients of several are added up."""

import functools
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from btkd_det.hooks import FiniteLossesHook

BAD = float('nan')


def run(factors, kind=OptimWrapper, accumulate=4, wrap=None, rate=1.0, share=0, **options):
    """How far the one weight has moved after each step; the loss of a step is factor * weight."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    wrapped = wrap(model) if wrap else model
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, **options)
    wrapper = kind(optimizer=optimizer, accumulative_counts=accumulate)
    wrapper.initialize_count_status(model, 0, len(factors))
    logger = logging.getLogger('left out')
    runner = SimpleNamespace(optim_wrapper=wrapper, model=wrapped, iter=0, logger=logger)
    FiniteLossesHook(skip=3).before_train(runner)
    moved = []
    for factor in factors:
        with wrapper.optim_context(wrapped):
            loss = wrapped(torch.full((1, 1), factor + share)).sum()
        wrapper.update_params(loss)
        moved.append(-model.weight.item())
    assert wrapper.inner_count == len(factors)
    return moved


@pytest.fixture
def scaled(monkeypatch):
    """The wrapper of mixed precision, on a CPU."""
    scaler = functools.partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', scaler)
    return functools.partial(AmpOptimWrapper, dtype='bfloat16')


@pytest.mark.parametrize('bad', range(8))
def test_the_others_of_an_accumulation_are_used(bad):
    factors = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    first = sum(factors[:4]) - (factors[bad] if bad < 4 else 0)
    rest = sum(factors[4:]) - (factors[bad] if bad >= 4 else 0)
    factors[bad] = BAD
    assert run(factors) == [0.0] * 3 + [first / 4] * 4 + [(first + rest) / 4]


def test_the_last_accumulation_may_be_shorter():
    assert run([1.0, 1.0, 1.0, 1.0, 4.0, BAD]) == [0.0, 0.0, 0.0, 1.0, 1.0, 3.0]


def test_mixed_precision(scaled):
    assert run([1.0, BAD, 1.0, BAD, 4.0, 4.0, 4.0, 4.0], scaled) == [
        0,
        0,
        0,
        0.5,
        0.5,
        0.5,
        0.5,
        4.5,
    ]
    assert run([BAD, BAD, 2.0, 2.0], scaled, accumulate=2) == [0, 0, 0, 2]


@pytest.mark.parametrize('accumulate', [1, 2])
def test_nothing_is_changed_where_all_are_left_out(accumulate):
    factors = [1.0, 1.0, BAD, BAD]
    moved = run(factors, accumulate=accumulate, rate=0.5, momentum=0.9, weight_decay=0.1)
    assert moved[1] == moved[2] == moved[3] > 0


def process(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    # One process has a bad loss alone, in a step that would have been the one to add them up.
    factors = [2.0, BAD if rank else 2.0, 2.0, 2.0]
    moved = run(factors, accumulate=2, wrap=DistributedDataParallel, share=4.0 * rank)
    torch.save(moved, f'{folder}/{rank}.pth')
    distributed.destroy_process_group()


def test_processes_stay_alike(tmp_path):
    # Much faster, but PyTorch refuses it where a GPU has been used.
    method = 'spawn' if torch.cuda.is_available() else 'fork'
    multiprocessing.start_processes(process, (str(tmp_path),), nprocs=2, start_method=method)
    moved = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    assert moved[0] == moved[1] == [0.0, 2.0, 2.0, 6.0]
