"""The number of an anchor among those of its position says nothing: rows meet by what it is."""

import copy

import pytest
import torch

from tests.conftest import build_detector
from tests.single_stage import distilled, save, step, tiny

SITES = dict(
    dense_logits=[
        dict(type='btkd_det.BinaryKDLoss'),
        dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.BinaryKDLoss')),
    ],
)
NUM_CLASSES, RATIOS, SCALES = 3, 3, 3

pytestmark = pytest.mark.usefixtures('progress')


def build(folder, ratios):
    config = tiny('RetinaNet')
    config.backbone.norm_eval = True
    config.bbox_head.anchor_generator.ratios = ratios
    path = folder / 'teacher.pth'
    if not path.is_file():
        save(config, path, seed=6)
    model = build_detector(distilled(config, copy.deepcopy(config), path, SITES), seed=5)
    with torch.no_grad():
        for part, seed in ((model, 1), (model.teacher.model, 2)):
            # A new head says nearly the same at each anchor.
            generator = torch.Generator().manual_seed(seed)
            for layer in (part.bbox_head.retina_cls, part.bbox_head.retina_reg):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    return model


def reverse(model):
    """Reverse the order of the anchors' aspect ratios in a head's last layers."""
    head = model.bbox_head
    with torch.no_grad():
        for layer, width in ((head.retina_cls, NUM_CLASSES), (head.retina_reg, 4)):
            for parameter in (layer.weight, layer.bias):
                rows = parameter.unflatten(0, (RATIOS, SCALES, width))
                parameter.copy_(rows.flip(0).flatten(0, 2))


def losses(model):
    return {key: value.item() for key, value in step(model).items() if 'distill' in key}


def test_permuting_the_anchors_of_both_changes_nothing(tmp_path):
    ratios = [0.5, 1.0, 2.0]
    expected = losses(build(tmp_path, ratios))
    assert expected['distill.dense_logits.loss_binary_kd'] > 1e-3
    model = build(tmp_path, ratios[::-1])
    reverse(model)
    # The control: anchors of the same number, and no longer of the same shape.
    assert losses(model) != pytest.approx(expected, rel=0.01)
    reverse(model.teacher.model)
    assert losses(model) == pytest.approx(expected, rel=1e-4)
