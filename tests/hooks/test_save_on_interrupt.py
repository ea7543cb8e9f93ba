"""A signal ends a training after a step, and the run that goes on from there is the same."""

import os
import signal

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook

from btkd_det import interrupts
from btkd_det.errors import InterruptedTraining

from .toy import NEW, PLAIN, BestOfAll, Drawing, train


class Asking(Hook):
    """Sends a signal to this process at one point of the run."""

    def __init__(self, point, count=1):
        self.point, self.left = point, count

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, 'point'):
            return self._ask
        return object.__getattribute__(self, name)

    def _ask(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


class Average(Hook):
    """Puts other weights in the model's place while it is validated, as EMA does."""

    def before_val_epoch(self, runner):
        self._turn(runner)

    def after_val_epoch(self, runner, metrics=None):
        self._turn(runner)

    def _turn(self, runner):
        with torch.no_grad():
            runner.model.layer.weight.neg_()


def run(folder, *hooks, resume=False, interval=1, **keys):
    BestOfAll.calls = 0
    hooks = [
        dict(type='btkd_det.SaveOnInterruptHook'),
        dict(type='btkd_det.MissedValidationHook'),
        Average(),
        *hooks,
    ]
    saving = dict(type='btkd_det.AtomicCheckpointHook', interval=interval)
    options = dict(
        val_dataloader=dict(NEW, batch_size=4, dataset=Drawing(), sampler=PLAIN),
        val_evaluator=Evaluator(BestOfAll()),
        val_cfg=dict(),
        default_hooks=dict(checkpoint={**saving, **keys.pop('saving', {})}),
    )
    return train(folder, NEW, more_hooks=hooks, resume=resume, **{**options, **keys})


def ended(folder, *hooks, **keys):
    with interrupts.noted(), pytest.raises(InterruptedTraining) as end:
        run(folder, *hooks, **keys)
    assert end.value.number == signal.SIGTERM
    return str(end.value)


@pytest.mark.parametrize(
    ('point', 'count', 'iteration'),
    [('before_train_epoch', 2, 5), ('before_train_iter', 4, 4), ('before_val_iter', 2, 4)],
)
def test_in_epochs(tmp_path, point, count, iteration):
    said = ended(tmp_path, Asking(point, count))
    if iteration == 5:
        assert said.startswith(f'ended by SIGTERM: {tmp_path}/interrupted.pth holds iteration 5')
        assert torch.load(tmp_path / 'interrupted.pth', weights_only=False)['meta']['iter'] == 5
        return
    # The checkpoint of the epoch is there.
    assert said.startswith('ended by SIGTERM: the checkpoint of iteration 4 is there')
    assert not (tmp_path / 'interrupted.pth').exists()
    _, weight = run(tmp_path, resume=True)
    assert torch.equal(weight, run(tmp_path / 'whole')[1])


def test_what_is_saved_after_a_validation_is_not_the_average(tmp_path):
    ended(tmp_path, Asking('before_val_iter', 2), interval=2)
    saved = torch.load(tmp_path / 'interrupted.pth', weights_only=False)
    assert saved['meta']['iter'] == 4
    whole = torch.load(run_one_epoch(tmp_path / 'whole'), weights_only=False)
    key = 'layer.weight'
    assert torch.equal(saved['state_dict'][key], whole['state_dict'][key])


def run_one_epoch(folder):
    run(folder)
    return folder / 'epoch_1.pth'


@pytest.mark.parametrize('count', [3, 4])
def test_counted_in_iterations_the_same_images_come(tmp_path, count):
    keys = dict(
        train_cfg=dict(by_epoch=False, max_iters=8, val_interval=4),
        saving=dict(by_epoch=False, interval=2),
        loader_options=dict(sampler=dict(type='InfiniteSampler', shuffle=True)),
    )
    ended(tmp_path, Asking('before_train_iter', count), **keys)
    batches, weight = run(tmp_path, resume=True, **keys)
    whole, same = run(tmp_path / 'whole', **keys)
    assert torch.equal(batches[..., 0], whole[count:, :, 0])
    # Where no checkpoint was due, the workers begin anew that would have gone on.
    assert torch.equal(weight, same) == (count == 4)


def test_afterwards_signals_do_what_they_did():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.noted():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    with interrupts.noted(False):
        assert signal.getsignal(signal.SIGTERM) == before
