"""No loss makes the host wait for the device, and each compiles as one graph."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from btkd_det.losses import BTKDLoss, IKDLoss

from .every import HOSTS, LOSSES, batch, call

CASES = {**LOSSES, 'ikd_collecting': IKDLoss}
EVERY = pytest.mark.parametrize('name', CASES)

# What reads a number off the device, or makes a tensor whose size depends on one.
WAITING = {
    '_local_scalar_dense',
    'bincount',
    'equal',
    'is_nonzero',
    'lift_fresh',
    'masked_select',
    'masked_scatter',
    'nonzero',
    'unique',
    '_unique2',
    'unique_dim',
}


class Recorder(TorchDispatchMode):
    """Note every operator that runs, the backward pass included, and what would wait."""

    def __init__(self):
        super().__init__()
        self.names = []
        self.waiting = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.names.append(name)
        indices = args[1] if name in ('index', 'index_put', 'index_put_') else ()
        by_mask = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)
        if name in WAITING or by_mask:
            self.waiting.append(str(func))
        return func(*args, **(kwargs or {}))


def step(loss, student, teacher, labels):
    student.grad = None
    value = call(loss, student, teacher, labels)
    value.backward()
    return value.detach(), student.grad


@EVERY
def test_no_operator_waits_for_the_device(name):
    loss, arguments = CASES[name](6), batch(8, 6, dtype=torch.float32)
    with Recorder() as recorder:
        step(loss, *arguments)
    assert 'sum' in recorder.names
    assert recorder.waiting == []


@pytest.mark.parametrize(
    'waits',
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: bool((x > 0).any()),
        lambda x: x.masked_fill_(x > 0, 0).nonzero(),
        lambda x: x.index_put_((x > 0,), torch.zeros(())),
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_the_recorder_sees_what_waits(waits):
    with Recorder() as recorder:
        waits(torch.randn(4, 3))
    assert recorder.waiting


# One of each way through the code; every host alone is among them.
COMPILED = [
    *HOSTS,
    'btkd',
    'btkd_blend_probs',
    'btkd_pair_blend',
    'btkd_label_revision',
    'btkd_drop',
    'btkd_dist',
    'btkd_trust',
    'btkd_posterior',
    'btkd_missed',
    'btkd_robust',
    'ikd',
]


@pytest.mark.parametrize('name', COMPILED)
def test_it_compiles_as_one_graph_and_gives_the_same(name):
    arguments = batch(8, 6, dtype=torch.float32)
    torch._dynamo.reset()
    eager, compiled = LOSSES[name](6), LOSSES[name](6)
    expected = step(eager, *arguments)
    found = step(torch.compile(compiled, fullgraph=True, backend='aot_eager'), *arguments)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(compiled.log_vars, eager.log_vars)
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict())


def test_progress_does_not_compile_again_and_again(hub):
    torch._dynamo.reset()
    graphs = CompileCounter()
    loss = BTKDLoss(schedule='linear')
    compiled = torch.compile(loss, backend=graphs)
    arguments = batch(8, 6, dtype=torch.float32)
    for iteration in range(8):
        hub.update_info('iter', iteration)
        expected = loss(*arguments)
        torch.testing.assert_close(compiled(*arguments), expected)
        assert loss.log_vars['gamma'].item() == pytest.approx(iteration / 40)
    before = graphs.frame_count
    for iteration in range(8, 16):
        hub.update_info('iter', iteration)
        compiled(*arguments)
    assert graphs.frame_count == before


def test_collecting_breaks_the_graph_and_the_term_does_not(hub):
    torch._dynamo.reset()
    loss = IKDLoss(6, collect_iters=2)
    compiled = torch.compile(loss, backend='eager')
    arguments = batch(8, 6, dtype=torch.float32)
    for iteration in range(4):
        hub.update_info('iter', iteration)
        assert (compiled(*arguments) > 0) == (iteration >= 2)
    torch.compile(loss, backend='eager', fullgraph=True)(*arguments)
    assert loss.class_counts.sum() == 16


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@EVERY
def test_under_cuda_s_own_check(name):
    loss = CASES[name](6).cuda()
    student, teacher, labels = batch(8, 6, dtype=torch.float32)
    on_cpu = step(CASES[name](6), student, teacher, labels)
    arguments = student.detach().cuda().requires_grad_(), teacher.cuda(), labels.cuda()
    step(loss, *arguments)
    torch.cuda.synchronize()
    loss = CASES[name](6).cuda()
    torch.cuda.set_sync_debug_mode('error')
    try:
        found = step(loss, *arguments)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    torch.testing.assert_close([x.cpu() for x in found], list(on_cpu), rtol=1e-4, atol=1e-5)
