"""What a training builds later is looked up in the config's own scope, as the runner will do it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.preflight.datasets import Contents
from btkd_det.preflight.parts import check_hooks
from btkd_det.preflight.rehearsal import check_step

RTMDET = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


def test_the_averages_of_mmdetections_own_configs_are_found():
    cfg = read_config(RTMDET, 'test')
    assert any(hook.get('ema_type') == 'ExpMomentumEMA' for hook in cfg.custom_hooks)
    check_hooks(cfg, nn.Linear(2, 2))


def test_an_average_of_a_scope_of_its_own_is_found_and_a_wrong_one_is_named():
    ema = dict(type='EMAHook', ema_type='mmdet.ExpMomentumEMA')
    check_hooks(Config(dict(custom_hooks=[ema])), nn.Linear(2, 2))
    ema['ema_type'] = 'ExpMomentumEMAA'
    with pytest.raises(ConfigError, match=r'custom_hooks\[0\]: cannot be built: .*ExpMomentumEMAA'):
        check_hooks(Config(dict(custom_hooks=[ema], default_scope='mmdet')), nn.Linear(2, 2))


class BuildsLate(BaseModel):
    """Builds a part of MMDetection's by its name when it is called first."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=MODELS.build(dict(type='L1Loss'))(torch.ones(2), torch.zeros(2)))


def test_a_model_that_builds_late_is_tried_in_the_scope_of_the_run():
    loader = dict(dataset=dict())
    cfg = Config(dict(default_scope='mmdet', model=dict(), train_dataloader=loader))
    sample = dict(inputs=torch.zeros(3, 8, 8))
    found = dict(train_dataloader=Contents(samples=[(sample, {})]))
    check_step(cfg, BuildsLate(), found)


class Diverges(BaseModel):
    """Gives losses that are not finite, in a list as detectors give them."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss_cls=torch.ones(1), loss_box=[torch.ones(1), torch.tensor([torch.nan])])


def test_a_loss_that_is_no_number_from_the_start_is_named():
    loader = dict(dataset=dict())
    cfg = Config(dict(default_scope='mmdet', model=dict(), train_dataloader=loader))
    found = dict(train_dataloader=Contents(samples=[(dict(inputs=torch.zeros(3, 8, 8)), {})]))
    with pytest.raises(ConfigError, match='model: loss_box of the first training sample'):
        check_step(cfg, Diverges(), found)
    cfg.load_from = 'other_weights.pth'
    check_step(cfg, Diverges(), found)
