"""What distillation saw is averaged as its losses are, and a silent site leaves the log."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import LOG_PROCESSORS

from btkd_det.config.log_options import average_log
from btkd_det.losses import BTKDLoss
from btkd_det.models.distilled import Sites
from btkd_det.sites import Features, Logits


@pytest.mark.parametrize('given', [None, dict(type='LogProcessor', window_size=4, by_epoch=False)])
def test_the_log_averages_over_the_window_of_the_losses(given):
    cfg = Config(dict(log_processor=given) if given else {})
    average_log(cfg)
    processor = LOG_PROCESSORS.build(dict(cfg.log_processor, window_size=4))
    hub = MessageHub.get_instance('test-log')
    for i in range(8):
        for name in ('loss', 'distill.roi_logits.right', 'distill.logits.s1.gamma', 'lr'):
            hub.update_scalar(f'train/{name}', float(i))
    runner = SimpleNamespace(message_hub=hub)
    found = processor._collect_scalars(processor._parse_windows_size(runner, 0), runner, 'train')
    MessageHub._instance_dict.pop('test-log')
    assert found['loss'] == found['distill.roi_logits.right'] == 5.5
    assert found['distill.logits.s1.gamma'] == 5.5
    assert found['lr'] == 7


def test_what_the_user_says_of_the_log_stays():
    own = dict(type='LogProcessor', mean_pattern='loss')
    cfg = Config(dict(log_processor=own))
    average_log(cfg)
    assert cfg.log_processor == own
    cfg = Config(dict(log_processor=dict(type='MyProcessor')))
    average_log(cfg)
    assert cfg.log_processor == dict(type='MyProcessor')


def test_a_silent_sites_values_leave_the_log(progress):
    kd = dict(type='btkd_det.KDLoss')
    sites = Sites(
        dict(logits=dict(losses=kd, stop_at=0.5), features=dict(type='btkd_det.PKDLoss')),
        dict(logits=Logits, features=Features),
    )
    hub = MessageHub.get_current_instance()
    names = ['distill.logits.loss_kd', 'distill.logits.right', 'distill.features.loss_pkd', 'loss']
    progress(0.4)
    for name in names:
        hub.update_scalar(f'train/{name}', 1.0)
    sites.active_sites()
    assert [f'train/{name}' for name in names] == list(hub.log_scalars)
    progress(0.5)
    sites.active_sites()
    assert list(hub.log_scalars) == ['train/distill.features.loss_pkd', 'train/loss']


def test_the_rate_on_objects_alone_is_logged():
    loss = BTKDLoss(schedule='none')
    logits = torch.eye(4)[[0, 1, 2, 3, 3, 0]] * 9
    labels = torch.tensor([0, 1, 1, 3, 3, 3])
    loss(torch.zeros(6, 4), logits, labels, foreground=labels < 3)
    assert loss.log_vars['right'].item() == pytest.approx(4 / 6)
    assert loss.log_vars['right_foreground'].item() == pytest.approx(2 / 3)
    loss(torch.zeros(6, 4), logits, labels)
    assert 'right_foreground' not in loss.log_vars
