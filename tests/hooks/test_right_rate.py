"""A teacher that is right on almost every row is told of once."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from btkd_det.hooks import RightRateHook


@pytest.fixture
def runner():
    hub = MessageHub.get_instance('test-right-rate')
    yield SimpleNamespace(message_hub=hub, iter=0, logger=logging.getLogger('right-rate'))
    MessageHub._instance_dict.pop('test-right-rate')


def train(runner, hook, rates, gamma=True, site='roi_logits'):
    for rate in rates:
        runner.message_hub.update_scalar(f'train/distill.{site}.right', rate)
        if gamma:
            runner.message_hub.update_scalar(f'train/distill.{site}.gamma', 0.5)
        hook.after_train_iter(runner, runner.iter)
        runner.iter += 1


@pytest.mark.parametrize(
    ('rates', 'gamma', 'warnings'),
    [
        ([1.0] * 45, True, 1),
        ([0.98, 1.0] * 10, True, 1),
        ([0.9, 1.0] * 10, True, 0),
        ([1.0] * 9, True, 0),
        ([1.0] * 20, False, 0),
        ([0.5] * 10 + [1.0] * 10, True, 1),
    ],
    ids=['right', 'mean', 'wrong enough', 'too early', 'no curriculum', 'late'],
)
def test_it_warns_once_by_the_mean_of_the_interval(runner, caplog, rates, gamma, warnings):
    train(runner, RightRateHook(interval=10), rates, gamma)
    found = [r for r in caplog.records if 'is right on' in r.getMessage()]
    assert len(found) == warnings
    if warnings:
        assert found[0].getMessage().startswith('distill.roi_logits: the teacher is right on ')


def test_each_site_has_its_own_warning(runner, caplog):
    hook = RightRateHook(interval=10)
    train(runner, hook, [1.0] * 10)
    train(runner, hook, [1.0] * 10, site='roi_logits.s1')
    assert [r.getMessage().partition(':')[0] for r in caplog.records] == [
        'distill.roi_logits',
        'distill.roi_logits.s1',
    ]
