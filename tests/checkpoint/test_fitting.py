"""What a model's own modules make of a checkpoint decides whether it fits."""

from collections import OrderedDict

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from btkd_det.checkpoint import load_weights
from btkd_det.errors import ConfigError
from tests.conftest import build_detector
from tests.single_stage import tiny


def save(path, state):
    """As old checkpoints are: without the versions of the modules."""
    torch.save(dict(state_dict=OrderedDict(state)), path)
    return path


def classifier(backbone, channels):
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type=f'mmpretrain.{backbone.pop("type")}', **backbone),
            neck=dict(type='mmpretrain.GlobalAveragePooling') if channels else None,
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=channels)
            if channels
            else dict(type='mmpretrain.VisionTransformerClsHead', num_classes=3, in_channels=8),
        )
    )


def swin():
    arch = dict(embed_dims=8, depths=[1, 1], num_heads=[1, 1])
    backbone = dict(type='SwinTransformer', arch=arch, img_size=32, out_indices=(1,))
    return classifier(backbone, 16)


def vit(size):
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
    return classifier(dict(type='VisionTransformer', arch=arch, img_size=size, patch_size=8), 0)


def test_the_old_names_of_fcos_heads_fit(tmp_path):
    model, other = build_detector(tiny('FCOS')), build_detector(tiny('FCOS'), seed=1)
    old = {'conv_cls': 'fcos_cls', 'conv_reg': 'fcos_reg', 'conv_centerness': 'fcos_centerness'}
    state = {}
    for key, value in model.state_dict().items():
        parts = key.split('.')
        state['.'.join([parts[0], old.get(parts[1], parts[1]), *parts[2:]])] = value
    assert 'bbox_head.fcos_cls.weight' in state
    load_weights(other, save(tmp_path / 'c.pth', state), 'field')
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_the_old_name_of_a_swin_norm_fits(tmp_path):
    model, other = swin(), swin()
    nn.init.normal_(model.backbone.norm1.weight)
    state = {
        key.replace('backbone.norm1', 'backbone.norm'): value
        for key, value in model.state_dict().items()
    }
    load_weights(other, save(tmp_path / 'c.pth', state), 'field')
    assert torch.equal(other.backbone.norm1.weight, model.backbone.norm1.weight)


def test_positions_of_another_image_size_fit(tmp_path):
    model, other = vit(32), vit(64)
    nn.init.normal_(model.backbone.pos_embed)
    load_weights(other, save(tmp_path / 'c.pth', model.state_dict()), 'field')
    assert other.backbone.pos_embed.shape == (1, 65, 8)
    assert torch.equal(other.backbone.pos_embed[:, 0], model.backbone.pos_embed[:, 0])


def test_an_averaged_copy_beside_the_weights_is_passed_over(tmp_path):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    state = model.state_dict() | {'ema_weight': torch.ones(3, 2), 'ema_bias': torch.ones(3)}
    load_weights(other, save(tmp_path / 'c.pth', state), 'field')
    assert torch.equal(other.weight, model.weight)


class Versioned(nn.Linear):
    """Notes with which version it was saved."""

    _version = 5
    seen = ()

    def _load_from_state_dict(self, state_dict, prefix, metadata, *args):
        self.seen = (*self.seen, metadata.get('version'))
        super()._load_from_state_dict(state_dict, prefix, metadata, *args)


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_module_is_told_its_version(tmp_path, wrapped):
    model, other = nn.Sequential(Versioned(2, 3)), nn.Sequential(Versioned(2, 3))
    saved = nn.DataParallel(model) if wrapped else model
    torch.save(dict(state_dict=saved.state_dict()), tmp_path / 'c.pth')
    load_weights(other, tmp_path / 'c.pth', 'field')
    assert other[0].seen == (5,)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(pos_embed=torch.ones(1, 7, 8)), 'pos_embed|AssertionError'),
        (dict(pos_embed=torch.ones(1, 17, 4)), r'pos_embed is \(1, 17, 4\) there'),
        (dict(cls_token=None), 'cls_token is missing there'),
        (dict(other=torch.ones(1)), 'other is not in the model'),
    ],
)
def test_what_no_module_takes_is_named(tmp_path, change, words):
    model = vit(32)
    state = dict(model.state_dict())
    for key, value in change.items():
        state[f'backbone.{key}'] = value
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(ConfigError, match=f'field: .*does not fit ImageClassifier.*({words})'):
        load_weights(model, save(tmp_path / 'c.pth', state), 'field')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('key', ['0.weight', '1.running_var'])
def test_weights_of_a_training_that_diverged_are_refused(tmp_path, key, value):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    # A mask may hold infinities.
    model.register_buffer('mask', torch.tensor([0.0, -float('inf')]))
    state = model.state_dict()
    torch.save(state, tmp_path / 'good.pth')
    load_weights(model, tmp_path / 'good.pth', 'teacher.checkpoint')
    state[key].view(-1)[0] = value
    torch.save(state, tmp_path / 'bad.pth')
    with pytest.raises(ConfigError, match=f'teacher.checkpoint: .*bad.pth holds .* NaN in {key}'):
        load_weights(model, tmp_path / 'bad.pth', 'teacher.checkpoint')
