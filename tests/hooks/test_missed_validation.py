"""A run that is killed in its validation has done it in the end, once."""

import os
import signal

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from btkd_det import interrupts
from btkd_det.errors import InterruptedTraining

from .toy import NEW, PLAIN, BestOfAll, Drawing, Stop, train


class Killed(Hook):
    """Ends the run after so many iterations: in the validation, or in the epoch that follows."""

    def __init__(self, at, within=True):
        self.at, self.within = at, within

    def before_val_epoch(self, runner):
        if self.within and runner.iter == self.at:
            raise Stop

    def before_train_epoch(self, runner):
        if not self.within and runner.iter == self.at:
            raise Stop


class Validated(Hook):
    """Notes after how many iterations there was a validation."""

    def __init__(self, found):
        self.found = found

    def after_val_epoch(self, runner, metrics=None):
        self.found.append(runner.iter)


def run(folder, killed=None, found=None, more=(), **keys):
    hooks = [
        *more,
        dict(type='btkd_det.ExactResumeHook'),
        dict(type='btkd_det.MissedValidationHook'),
    ]
    hooks += [] if killed is None else [Killed(*killed)]
    hooks.append(Validated([] if found is None else found))
    saving = dict(type='btkd_det.AtomicCheckpointHook', interval=1, save_best='score', rule='less')
    options = dict(
        hook=False,
        more_hooks=hooks,
        val_dataloader=dict(NEW, batch_size=4, dataset=Drawing(), sampler=PLAIN),
        val_evaluator=Evaluator(BestOfAll()),
        val_cfg=dict(),
        default_hooks=dict(checkpoint={**saving, **keys.pop('saving', {})}),
    )
    return train(folder, NEW, **{**options, **keys})


def test_it_is_made_up_for_and_the_best_one_is_the_best(tmp_path):
    # The score grows, and less is better: the first is the best one.
    BestOfAll.calls, found = 0, []
    run(tmp_path, killed=[4])
    assert not list(tmp_path.glob('best*'))
    _, weight = run(tmp_path, found=found, resume=True)
    assert found == [4, 8, 12]
    assert [p.name for p in tmp_path.glob('best*')] == ['best_score_epoch_1.pth']
    whole = tmp_path / 'whole'
    BestOfAll.calls = 0
    assert torch.equal(weight, run(whole)[1])


@pytest.mark.parametrize('interval', [1, 2])
def test_what_was_done_is_not_done_again(tmp_path, interval):
    found = []
    cfg = dict(train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=interval))
    run(tmp_path, found=found, killed=[4 * interval, False], **cfg)
    assert found == [4 * interval]
    run(tmp_path, found=found, resume=True, **cfg)
    assert found == ([4, 8, 12] if interval == 1 else [8, 12])


def test_nor_what_was_not_due(tmp_path):
    found = []
    cfg = dict(train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=2))
    run(tmp_path, found=found, stop=1, **cfg)
    run(tmp_path, found=found, resume=True, **cfg)
    assert found == [8, 12]


def test_of_the_last_epoch_too(tmp_path):
    found = []
    cfg = dict(train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=2))
    run(tmp_path, killed=[12], **cfg)
    run(tmp_path, found=found, resume=True, **cfg)
    assert found == [12]


def test_counted_in_iterations(tmp_path):
    found = []
    cfg = dict(
        train_cfg=dict(by_epoch=False, max_iters=6, val_interval=2),
        saving=dict(by_epoch=False, interval=2),
    )
    loader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
    run(tmp_path, killed=[2], loader_options=loader, **cfg)
    run(tmp_path, found=found, resume=True, loader_options=loader, **cfg)
    assert found == [2, 4, 6]


def test_without_being_resumed_nothing_comes_first(tmp_path):
    found = []
    run(tmp_path, found=found)
    assert found == [4, 8, 12]


def test_killed_once_more_after_it_the_run_is_still_the_same(tmp_path):
    BestOfAll.calls = 0
    whole = tmp_path / 'whole'
    _, weight = run(whole)
    BestOfAll.calls = 0
    parts = tmp_path / 'parts'
    run(parts, killed=[4])
    # Validation saves the best one, and the last one again, before any batch is drawn.
    run(parts, killed=[4, False], resume=True)
    _, same = run(parts, resume=True)
    assert torch.equal(weight, same)
    states = [torch.load(f / 'best_score_epoch_1.pth', weights_only=False) for f in (whole, parts)]
    first, second = (state['btkd_det_rng'][0]['torch'] for state in states)
    assert torch.equal(first, second)
    hubs = [state['message_hub']['runtime_info'] for state in states]
    assert [hub['iter'] for hub in hubs] == [3, 3]
    assert [hub['epoch'] for hub in hubs] == [0, 0]


class Asked(Hook):
    """Asks the run to end in its second step."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_after_an_interrupt_inside_an_epoch_too(tmp_path, monkeypatch):
    BestOfAll.calls, found = 0, []
    saves = dict(type='btkd_det.SaveOnInterruptHook')
    with pytest.raises(InterruptedTraining), interrupts.noted():
        run(tmp_path, more=[saves, Asked()])
    # Two steps of the first epoch, which begins again, and the second's validation is missed.
    run(tmp_path, killed=[10], more=[saves], found=found, resume=True)
    assert found == [6]
    warned = []
    monkeypatch.setattr(
        MMLogger.get_current_instance().__class__,
        'warning',
        lambda self, text, *args, **kwargs: warned.append(str(text)),
    )
    run(tmp_path, more=[saves], found=found, resume=True)
    assert found == [6, 10, 14]
    assert not [text for text in warned if 'begins again' in text]
