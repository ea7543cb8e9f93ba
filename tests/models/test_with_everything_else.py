"""Distillation beside what else training uses: EMA, AMP, accumulation, compile, DDP."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper

from tests.conftest import build_detector, detection_batch
from tests.models.test_two_stage import distilled, one_step

SITES = dict(
    roi_logits=dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss', temperature=1.0)),
    fpn=dict(type='btkd_det.PKDLoss'),
)


pytestmark = pytest.mark.usefixtures('progress')


@pytest.fixture
def config(student_config, teacher_config, teacher_checkpoint):
    student_config.backbone.norm_eval = True
    return distilled(student_config, teacher_config, teacher_checkpoint, SITES)


def test_averaged_copies_share_the_teacher_and_average_the_rest(config):
    model = build_detector(config)
    ema = ExponentialMovingAverage(model, momentum=0.5)
    assert ema.module.teacher is model.teacher
    assert list(ema.module.state_dict()) == list(model.state_dict())
    adapter = model.distill['fpn'][0].adapters['0'].weight
    before = adapter.detach().clone()
    with torch.no_grad():
        adapter.add_(1.0)
    ema.update_parameters(model)  # the first update copies
    with torch.no_grad():
        adapter.add_(1.0)
    ema.update_parameters(model)
    averaged = ema.module.distill['fpn'][0].adapters['0'].weight
    torch.testing.assert_close(averaged, before + 1.5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_gives_nearly_the_same_losses(config, dtype):
    exact = one_step(build_detector(config))[1]
    model = build_detector(config).train()
    data = model.data_preprocessor(detection_batch(), training=True)
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype):
        losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    assert losses['distill.fpn.loss_pkd'].dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    torch.testing.assert_close(
        log['distill.fpn.loss_pkd'], exact['distill.fpn.loss_pkd'], rtol=0.05, atol=0
    )


def test_accumulated_gradients_are_the_mean_of_the_steps(config):
    model = build_detector(config)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = []
    for seed in (1, 2):
        gradients.append(one_step(model, seed)[2])
    model = build_detector(config).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 2)
    for seed in (1, 2):
        torch.manual_seed(seed)
        model.train_step(detection_batch(), wrapper)
    name = 'distill.fpn.0.adapters.0.weight'
    mean = (gradients[0][name] + gradients[1][name]) / 2
    torch.testing.assert_close(model.state_dict()[name], start[name] - mean, rtol=1e-4, atol=1e-6)


def test_gradient_checkpointing_changes_no_gradient(config):
    _, log, gradients = one_step(build_detector(config))
    config = copy.deepcopy(config)
    config['backbone'].with_cp = True
    _, log_cp, gradients_cp = one_step(build_detector(config))
    torch.testing.assert_close(log_cp['loss'], log['loss'])
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_cp[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_compiled_teacher_says_the_same(config):
    log = one_step(build_detector(config))[1]
    compiled = copy.deepcopy(config)
    compiled['teacher']['compile'] = dict(backend='aot_eager')
    model = build_detector(compiled)
    calls = []
    model.teacher.model.neck.register_forward_hook(lambda *args: calls.append(1))
    log_compiled = one_step(model)[1]
    assert calls
    for name in log:
        torch.testing.assert_close(log_compiled[name], log[name], rtol=1e-4, atol=1e-5)


TWO_PROCESSES = """
import os, sys, torch
from mmengine.model import MMDistributedDataParallel
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.models.test_two_stage import distilled
from tests.models.test_with_everything_else import SITES

torch.distributed.init_process_group('gloo')
hub = MessageHub.get_instance('ddp')
hub.update_info('iter', 50)
hub.update_info('max_iters', 100)
rank = torch.distributed.get_rank()
teacher = tiny_faster_rcnn(width=12, neck=24)
model = build_detector(distilled(tiny_faster_rcnn(), teacher, sys.argv[1], SITES))
ddp = MMDistributedDataParallel(model, find_unused_parameters=False)
guests = {id(p) for p in model.teacher.parameters()}
assert not guests & {id(p) for p in ddp.parameters()}
assert not any('teacher' in key for key in ddp.state_dict())
ddp.train()
wrapper = OptimWrapper(torch.optim.SGD(ddp.parameters(), lr=0.01))
for step in range(2):
    torch.manual_seed(10 * step + rank)
    log = ddp.train_step(detection_batch(seed=rank), wrapper)
vector = torch.cat([p.detach().flatten() for p in model.parameters()])
both = [torch.zeros_like(vector) for _ in range(2)]
torch.distributed.all_gather(both, vector)
assert torch.equal(both[0], both[1])
# In one piece: both write to one pipe.
print(f'same weights on both ranks {log["distill.fpn.loss_pkd"].item() > 0}', flush=True)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
# Without the interpreter's own end, at which gloo's threads abort it once in a while.
os._exit(0)
"""


def test_two_processes_need_no_search_for_unused_parameters(teacher_checkpoint, tmp_path):
    script = tmp_path / 'train.py'
    script.write_text(TWO_PROCESSES)
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc-per-node=2',
            str(script),
            teacher_checkpoint,
        ],
        env=dict(os.environ, PYTHONPATH=str(root), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert 'same weights on both ranks True' in process.stdout
