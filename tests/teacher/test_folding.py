"""A teacher whose normalization is folded gives the same maps with fewer modules."""

import copy

import pytest
import torch
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.models import Teacher
from tests.classifiers import build_classifier, distilled_resnet, image_batch, tiny_resnet
from tests.conftest import build_detector, detection_batch
from tests.models.test_two_stage import distilled

SITES = dict(
    roi_logits=dict(type='btkd_det.KDLoss'),
    fpn=dict(type='btkd_det.PKDLoss'),
)


def norms(module):
    return sum(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def settle(model, seed=0):
    """Statistics that fold into something."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize('compile', [False, dict(backend='eager')])
def test_its_maps_are_the_same(teacher_config, compile):
    plain = settle(build_detector(teacher_config)).eval()
    teacher = Teacher(copy.deepcopy(plain), fuse=True, compile=compile)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = plain.extract_feat(images)
        assert norms(teacher.model) == norms(plain) > 0
        for found in (teacher.extract_feat(images), teacher.extract_feat(images)):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert norms(teacher.model.backbone) == 0
    assert norms(plain.backbone) > 0


def test_a_distilled_step_is_the_same(student_config, teacher_config, tmp_path, progress):
    path = tmp_path / 'teacher.pth'
    torch.save(settle(build_detector(teacher_config)).state_dict(), path)
    logs = []
    for fuse in (False, True):
        config = distilled(student_config, teacher_config, path, copy.deepcopy(SITES))
        config['teacher'].update(fuse=fuse)
        model = build_detector(config).train()
        data = model.data_preprocessor(detection_batch(), training=True)
        torch.manual_seed(1)
        losses = model(**data, mode='loss')
        logs.append({k: v for k, v in losses.items() if k.startswith('distill.')})
        assert (norms(model.teacher.model.backbone) == 0) == fuse
    assert len(logs[0]) == 2
    torch.testing.assert_close(logs[1], logs[0], rtol=1e-3, atol=1e-5)


def test_the_student_inherits_what_was_not_folded(student_config, teacher_config, tmp_path):
    teacher_config.neck.out_channels = student_config.neck.out_channels
    path = tmp_path / 'teacher.pth'
    torch.save(settle(build_detector(student_config, seed=3)).state_dict(), path)
    config = distilled(student_config, student_config, path, {})
    config['teacher'].update(fuse=True, init_student='teacher')
    model = build_detector(config)
    fpn = model.neck.state_dict()
    assert fpn
    assert all(torch.equal(fpn[k], v) for k, v in model.teacher.model.neck.state_dict().items())


def test_a_classifier_of_mmpretrain(tmp_path):
    pytest.importorskip('mmpretrain')
    path = tmp_path / 'teacher.pth'
    torch.save(settle(build_classifier(tiny_resnet())).state_dict(), path)
    logs = []
    for fuse in (False, True):
        teacher = dict(config=tiny_resnet(), checkpoint=str(path), fuse=fuse)
        sites = dict(logits=dict(type='btkd_det.KDLoss'), features=dict(type='btkd_det.PKDLoss'))
        model = build_classifier(distilled_resnet(teacher, sites)).train()
        data = model.data_preprocessor(image_batch(), training=True)
        logs.append(model(**data, mode='loss'))
        assert (norms(model.teacher.model) == 0) == fuse
    torch.testing.assert_close(logs[1], logs[0], rtol=1e-3, atol=1e-5)


class NormBeforeConvolution(nn.Module):
    """Registered as a convolution and its normalization, and called the other way round."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.backbone.bn = nn.BatchNorm2d(3)

    def extract_feat(self, images):
        return [self.backbone.conv(self.backbone.bn(images))]


def test_what_would_change_the_maps_is_refused():
    teacher = Teacher(settle(NormBeforeConvolution()), fuse=True)
    with pytest.raises(ConfigError, match=r'teacher\.fuse: True, but the maps are others.*False'):
        teacher.extract_feat(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize('backbone', [nn.Conv2d(3, 3, 3), nn.GroupNorm(1, 3), None])
def test_where_there_is_nothing_to_fold_it_is_refused(backbone):
    model = nn.Module()
    model.backbone, model.extract_feat = backbone, lambda images: images
    with pytest.raises(ConfigError, match=r'teacher\.fuse: True, but neither .* valid: False'):
        Teacher(model, fuse=True)


def test_other_values_are_refused(teacher_config):
    with pytest.raises(ConfigError, match=r"teacher\.fuse: 'yes'"):
        Teacher(build_detector(teacher_config), fuse='yes')
