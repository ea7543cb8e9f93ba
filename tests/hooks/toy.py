"""A training of seconds whose every batch and weight is looked at."""

import contextlib
import random

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.evaluator import BaseMetric
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


OPTIMIZER = dict(optimizer=dict(type='SGD', lr=0.001, momentum=0.9))


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
    work_dir,
    loader,
    seed=3,
    stop=None,
    resume=False,
    hook=True,
    stop_after_val=False,
    more_hooks=(),
    loader_options=None,
    model=None,
    optim_wrapper=None,
    dataset=Drawing,
    model_type=Model,
    **keys,
):
    """The batches of a run of three epochs, and the weights at its end."""
    batches = []
    loader = {
        **dict(batch_size=4, sampler=dict(type='DefaultSampler', shuffle=True)),
        **loader,
        **(loader_options or {}),
    }
    options = dict(
        train_cfg=dict(by_epoch=True, max_epochs=3),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    )
    runner = Runner(
        model=model or model_type(),
        work_dir=str(work_dir),
        train_dataloader=dict(loader, dataset=dataset()),
        optim_wrapper=optim_wrapper or OPTIMIZER,
        custom_hooks=[
            Recorder(batches, stop, stop_after_val),
            *[dict(type='btkd_det.ExactResumeHook')] * hook,
            *more_hooks,
        ],
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
    batches = torch.stack(batches) if batches else torch.zeros(0, 4, 4)
    return batches, runner.model.layer.weight.detach().clone()


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


class BestOfAll(BaseMetric):
    """Better each time; draws, as an evaluation with sampling does."""

    def process(self, data_batch, data_samples):
        self.results.append(torch.rand(()).item() + random.random() + np.random.rand())

    def compute_metrics(self, results):
        BestOfAll.calls += 1
        return dict(score=BestOfAll.calls)
