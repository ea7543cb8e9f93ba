"""A stopped and resumed run beside one that was not stopped, with data loaders of every kind."""

import contextlib
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from torch import nn

NEW = dict(num_workers=0)
FRESH = dict(num_workers=2, persistent_workers=False)
KEPT = dict(num_workers=2, persistent_workers=True)
COUNT = 16


class Drawing(torch.utils.data.Dataset):
    """Each item has its index and what is drawn for it from each of the three generators."""

    metainfo = {}

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        drawn = [index, random.random(), np.random.rand(), torch.rand(()).item()]
        return dict(inputs=torch.tensor(drawn, dtype=torch.float64))


class Model(BaseModel):
    """Draws in the main process, too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1).double()
        nn.init.constant_(self.layer.weight, 0.1)
        nn.init.zeros_(self.layer.bias)

    def forward(self, inputs, mode='loss'):
        noise = torch.rand(()) + random.random() + np.random.rand()
        return dict(loss=(self.layer(torch.stack(inputs)) - noise).pow(2).mean())


class Stop(Exception):
    pass


class Recorder(Hook):
    """Keeps every batch; stops the run after so many epochs or iterations if asked to."""

    priority = 'LOWEST'

    def __init__(self, batches, stop=None):
        self.batches, self.stop = batches, stop

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append(torch.stack(data_batch['inputs']))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.max_epochs == 1 and runner.iter + 1 == self.stop:
            raise Stop

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.stop:
            raise Stop


@FUNCTIONS.register_module()
def seed_by_seven(worker_id):
    """A worker's start as a user may have written it."""
    worker_init_fn(worker_id, num_workers=2, rank=0, seed=7)


def train(work_dir, loader, seed=3, stop=None, resume=False, hook=True, **keys):
    """The batches of a run of three epochs, and the weights at its end."""
    batches = []
    loader = dict(dict(batch_size=4, sampler=dict(type='DefaultSampler', shuffle=True)), **loader)
    options = dict(
        train_cfg=dict(by_epoch=True, max_epochs=3),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    )
    runner = Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(loader, dataset=Drawing()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.001, momentum=0.9)),
        custom_hooks=[Recorder(batches, stop)] + [dict(type='btkd_det.ExactResumeHook')] * hook,
        randomness=dict(seed=seed),
        resume=resume,
        experiment_name=f'{work_dir.parent.name}-{work_dir.name}-{resume}',
        log_level='WARNING',
        **{**options, **keys},
    )
    with contextlib.suppress(Stop):
        runner.train()
    # Workers that the garbage collector ends keep later tests waiting.
    runner.train_dataloader._iterator = None
    if hasattr(runner.train_loop, 'dataloader_iterator'):
        runner.train_loop.dataloader_iterator._iterator = None
    return torch.stack(batches), runner.model.layer.weight.detach().clone()


def stopped(work_dir, *args, stop, **keys):
    """The same run in two processes' worth: stopped, and resumed."""
    first, _ = train(work_dir, *args, stop=stop, **keys)
    rest, weight = train(work_dir, *args, resume=True, **keys)
    return torch.cat([first, rest]), weight


@pytest.mark.parametrize('stop', [1, 2])
@pytest.mark.parametrize(
    'loader', [NEW, FRESH, KEPT], ids=['no workers', 'new workers', 'persistent workers']
)
def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path, loader, stop):
    batches, weight = train(tmp_path / 'whole', loader)
    again, same = stopped(tmp_path / 'parts', loader, stop=stop)
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


@pytest.mark.parametrize('loader', [NEW, FRESH, KEPT], ids=['none', 'new', 'persistent'])
def test_a_run_without_a_seed_of_its_own_is_resumed_too(tmp_path, loader, monkeypatch):
    seeds = iter([11, 12, 13])
    monkeypatch.setattr('mmengine.runner.utils.sync_random_seed', lambda: next(seeds))
    batches, weight = train(tmp_path / 'whole', loader, seed=11)
    again, same = stopped(tmp_path / 'parts', loader, seed=None, stop=1)
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


def test_no_two_epochs_draw_the_same_from_persistent_workers(tmp_path):
    drawn = train(tmp_path, KEPT)[0][..., 1:]
    assert drawn.unique().numel() == drawn.numel()


def test_the_first_epoch_is_that_of_a_run_without_the_hook(tmp_path):
    ours, _ = train(tmp_path / 'with', KEPT)
    plain, _ = train(tmp_path / 'without', KEPT, hook=False)
    assert torch.equal(ours[:4], plain[:4])


def test_a_worker_init_fn_of_the_config_is_kept(tmp_path):
    loader = dict(KEPT, worker_init_fn=dict(type='seed_by_seven'))
    batches, _ = train(tmp_path / 'whole', loader)
    again, _ = stopped(tmp_path / 'parts', loader, stop=1)
    assert torch.equal(batches, again)
    assert torch.equal(batches[0, :, 1:], batches[4, :, 1:])


@pytest.mark.parametrize('loader', [NEW, KEPT], ids=['none', 'persistent'])
def test_counted_in_iterations_the_order_of_the_images_is_resumed(tmp_path, loader):
    loader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
    by_iteration = dict(
        train_cfg=dict(by_epoch=False, max_iters=8),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)),
    )
    batches, _ = train(tmp_path / 'whole', loader, **by_iteration)
    # Stopped in the fifth iteration, before its checkpoint: it is done again.
    again, _ = stopped(tmp_path / 'parts', loader, stop=5, **by_iteration)
    assert torch.equal(batches[4:, :, 0], again[5:, :, 0])
    assert torch.equal(batches[:5], again[:5])
