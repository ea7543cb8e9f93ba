"""Two processes on a machine without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from btkd_det import cpu_processes
from btkd_det.errors import ConfigError

ROOT = Path(__file__).parents[1]

TRAINING = """
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from btkd_det import cpu_processes

cpu_processes.get_device = lambda: 'cpu'

class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)

    def forward(self, x, mode):
        return dict(loss=self.linear(x).square().mean())

cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
cpu_processes.join(cfg)
data = [torch.full((1,), float(i)) for i in range(8)]
loader = dict(batch_size=1, num_workers=0, dataset=data,
              sampler=dict(type='DefaultSampler', shuffle=False))
runner = Runner(
    Line(), WORK_DIR, launcher='pytorch', cfg=cfg, train_dataloader=loader,
    train_cfg=dict(by_epoch=True, max_epochs=1),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)), default_hooks=dict(checkpoint=None))
runner.train()
assert runner.model.find_unused_parameters
weight = runner.model.module.linear.weight.detach().clone()
both = [torch.zeros_like(weight) for _ in range(2)]
torch.distributed.all_gather(both, weight)
assert torch.equal(*both)
cpu_processes.leave()
assert not torch.distributed.is_initialized()
import os
# A file of its own: what two processes print runs together at times.
with open(os.path.join(WORK_DIR, 'trained-by-' + os.environ['RANK']), 'w') as file:
    file.write(str(runner.world_size))
# Without the interpreter's own end, at which gloo's threads abort it once in a while.
os._exit(0)
"""


def test_two_processes_train_one_model(tmp_path):
    script = tmp_path / 'training.py'
    script.write_text(TRAINING.replace('WORK_DIR', repr(str(tmp_path / 'work'))))
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', script],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = sorted((path.name, path.read_text()) for path in tmp_path.glob('work/trained-by-*'))
    both = [('trained-by-0', '2'), ('trained-by-1', '2')]
    assert found == both, done.stdout + done.stderr


@pytest.mark.parametrize(
    ('launcher', 'words'),
    [
        ('mpi', ["--launcher: 'mpi' needs a GPU", 'pytorch, slurm']),
        ('slurm', ['SLURM_PROCID, SLURM_NTASKS', 'srun -n N']),
        ('pytorch', ['RANK, WORLD_SIZE', 'torchrun --nproc-per-node N']),
    ],
)
def test_a_launcher_that_cannot_work_here_is_one_line(launcher, words, monkeypatch):
    monkeypatch.setattr(cpu_processes, 'get_device', lambda: 'cpu')
    for name in (*cpu_processes._NEEDED, *cpu_processes._SLURM.values()):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError) as caught:
        cpu_processes.join(Config(dict(launcher=launcher)))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(('launcher', 'device'), [('none', 'cpu'), ('pytorch', 'cuda')])
def test_nothing_is_done_elsewhere(launcher, device, monkeypatch):
    monkeypatch.setattr(cpu_processes, 'get_device', lambda: device)
    cfg = Config(dict(launcher=launcher))
    cpu_processes.join(cfg)
    assert 'model_wrapper_cfg' not in cfg
