"""MMEngine's other runner trains a distilled detector as its plain one does."""

import torch
from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner

from btkd_det.checkpoint import weights_only

from .night import prepare_night


def trained(folder, kind):
    folder.mkdir()
    cfg = Config.fromfile(prepare_night(folder)[0])
    cfg.work_dir, cfg.experiment_name = str(folder / 'run'), folder.name
    cfg.custom_hooks, cfg.log_level = [], 'ERROR'
    cfg.randomness = dict(seed=0)
    cfg.train_cfg.update(max_epochs=2, val_interval=3)
    cfg.param_scheduler = cfg.param_scheduler[:1]
    if kind is FlexibleRunner:
        cfg.strategy = dict(type='SingleDeviceStrategy')
    with weights_only():
        runner = kind.from_cfg(cfg)
        runner.train()
    return runner


def test_it_gives_the_same_weights_and_a_plain_checkpoint(tmp_path):
    plain = trained(tmp_path / 'plain', Runner)
    flexible = trained(tmp_path / 'flexible', FlexibleRunner)
    pairs = zip(plain.model.state_dict().items(), flexible.model.state_dict().items(), strict=True)
    for (name, before), (same, after) in pairs:
        assert name == same
        assert torch.equal(before, after), name
    state = torch.load(tmp_path / 'flexible/run/epoch_2.pth', weights_only=False)['state_dict']
    assert not [key for key in state if 'teacher' in key]
    assert any(key.startswith('distill.') for key in state)
