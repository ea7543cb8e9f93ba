"""Values of another type than the config expects, and misspelled keys: one line each."""

import pytest

from btkd_det.errors import ConfigError
from btkd_det.preflight import load_config

BASE = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['btkd_det'])
model = dict(type='btkd_det.DistilledTwoStageDetector',
             teacher=dict(config='t.py', checkpoint='t.pth'), distill=dict())
"""


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ("model = dict(distill='kd')", ["model.distill: 'kd'", 'dict(SITE=']),
        ('model = dict(distill=[dict(type="KDLoss")])', ['model.distill: [', 'dict(SITE=']),
        ("model = dict(teacher='x.py')", ["model.teacher: 'x.py'", 'dict(config=']),
        ('model = dict(teachr=dict(a=1))', ["unknown key 'teachr'", "'teacher'"]),
        ('model = dict(distil=dict(a=1))', ["unknown key 'distil'", "'distill'"]),
        ("model = dict(type='DistilledTwoStageDetector')", ["'btkd_det.DistilledTwoStageDete"]),
        ("model = dict(type='DistiledTwoStageDetector')", ["'btkd_det.DistilledTwoStageDete"]),
        ("custom_hooks = 'EMAHook'", ["custom_hooks: 'EMAHook'", 'a list']),
        ("custom_hooks = ['EMAHook']", ["custom_hooks[0]: 'EMAHook'"]),
        ("train_dataloader = 'x'", ["train_dataloader: 'x'"]),
        ("train_dataloader = dict(dataset='coco')", ["train_dataloader.dataset: 'coco'"]),
        ('train_cfg = 12', ['train_cfg: 12', 'max_epochs']),
    ],
)
def test_it_is_one_line(tmp_path, text, words):
    (tmp_path / 'base.py').write_text(BASE)
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = './base.py'\n{text}")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_good_config_passes(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)
    assert load_config(str(tmp_path / 'base.py')).model.distill == {}
