"""A stopped and resumed run beside one that was not stopped, with data loaders of every kind."""

import contextlib
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import worker_init_fn
from mmengine.evaluator import BaseMetric, Evaluator
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
        if mode == 'predict':
            return [dict()]
        noise = torch.rand(()) + random.random() + np.random.rand()
        return dict(loss=(self.layer(torch.stack(inputs)) - noise).pow(2).mean())


PLAIN = dict(type='DefaultSampler', shuffle=False)


class Stop(Exception):
    pass


class Recorder(Hook):
    """Keeps every batch; stops the run after so many epochs or iterations if asked to."""

    priority = 'LOWEST'

    def __init__(self, batches, stop=None, stop_after_val=False):
        self.batches, self.stop, self.stop_after_val = batches, stop, stop_after_val

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append(torch.stack(data_batch['inputs']))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.max_epochs == 1 and runner.iter + 1 == self.stop:
            raise Stop

    def after_val(self, runner):
        if self.stop_after_val:
            raise Stop

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.stop:
            raise Stop


@FUNCTIONS.register_module()
def seed_by_seven(worker_id):
    """A worker's start as a user may have written it."""
    worker_init_fn(worker_id, num_workers=2, rank=0, seed=7)


def train(
    work_dir, loader, seed=3, stop=None, resume=False, hook=True, stop_after_val=False, **keys
):
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
        custom_hooks=[Recorder(batches, stop, stop_after_val)]
        + [dict(type='btkd_det.ExactResumeHook')] * hook,
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


def stopped_after_validation(work_dir, *args, **keys):
    """The same, stopped where the validation of the first epoch is over."""
    first, _ = train(work_dir, *args, stop_after_val=True, **keys)
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


BY_ITERATION = dict(
    train_cfg=dict(by_epoch=False, max_iters=8),
    default_hooks=dict(
        checkpoint=dict(type='btkd_det.AtomicCheckpointHook', interval=2, by_epoch=False)
    ),
)


@pytest.mark.parametrize('stop', [3, 5, 6])
@pytest.mark.parametrize('loader', [NEW, FRESH, KEPT], ids=['none', 'new', 'persistent'])
def test_counted_in_iterations_it_is_the_same_run_too(tmp_path, loader, stop):
    loader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
    batches, weight = train(tmp_path / 'whole', loader, **BY_ITERATION)
    again, same = stopped(tmp_path / 'parts', loader, stop=stop, **BY_ITERATION)
    # What came after the last checkpoint is done again.
    kept = stop // 2 * 2
    assert torch.equal(batches[:stop], again[:stop])
    assert torch.equal(batches[kept:], again[stop:])
    assert torch.equal(weight, same)
    assert batches[..., 1:].unique().numel() == batches[..., 1:].numel()


def test_counted_in_iterations_without_a_seed(tmp_path, monkeypatch):
    seeds = iter([11, 12, 13])
    monkeypatch.setattr('mmengine.runner.utils.sync_random_seed', lambda: next(seeds))
    loader = dict(FRESH, sampler=dict(type='InfiniteSampler', shuffle=True))
    batches, weight = train(tmp_path / 'whole', loader, seed=11, **BY_ITERATION)
    again, same = stopped(tmp_path / 'parts', loader, seed=None, stop=5, **BY_ITERATION)
    assert torch.equal(batches[4:], again[5:])
    assert torch.equal(weight, same)


@pytest.mark.parametrize('loader', [NEW, KEPT], ids=['none', 'persistent'])
def test_with_another_hook_the_order_of_the_images_is_resumed(tmp_path, loader):
    loader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False))
    keys = {**BY_ITERATION, 'default_hooks': hooks}
    batches, _ = train(tmp_path / 'whole', loader, **keys)
    again, _ = stopped(tmp_path / 'parts', loader, stop=5, **keys)
    assert torch.equal(batches[4:, :, 0], again[5:, :, 0])
    assert torch.equal(batches[:5], again[:5])


class BestOfAll(BaseMetric):
    """Better each time; draws, as an evaluation with sampling does."""

    def process(self, data_batch, data_samples):
        self.results.append(torch.rand(()).item() + random.random() + np.random.rand())

    def compute_metrics(self, results):
        BestOfAll.calls += 1
        return dict(score=BestOfAll.calls)


@pytest.mark.parametrize('loader', [NEW, KEPT], ids=['none', 'persistent'])
def test_a_checkpoint_of_within_validation_has_the_states_of_before_it(tmp_path, loader):
    def run(train_function, folder, **keys):
        BestOfAll.calls = 0
        return train_function(
            tmp_path / folder,
            loader,
            val_dataloader=dict(NEW, batch_size=4, dataset=Drawing(), sampler=PLAIN),
            val_evaluator=Evaluator(BestOfAll()),
            val_cfg=dict(),
            default_hooks=dict(
                checkpoint=dict(
                    type='btkd_det.AtomicCheckpointHook',
                    interval=1,
                    save_best='score',
                    rule='greater',
                )
            ),
            **keys,
        )

    batches, weight = run(train, 'whole')
    again, same = run(stopped_after_validation, 'parts')
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


def test_a_checkpoint_inside_an_epoch_says_that_the_epoch_begins_again(tmp_path, capfd):
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False))
    train(tmp_path, NEW, stop=2, default_hooks=hooks)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_6.pth'))
    capfd.readouterr()
    batches, _ = train(tmp_path, NEW, resume=True, default_hooks=hooks)
    assert 'saved 2 iterations into epoch 2: that epoch begins again' in ''.join(capfd.readouterr())
    assert len(batches) == 8
