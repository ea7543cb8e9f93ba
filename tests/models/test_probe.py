"""Models are probed with what their data give, or with what they take themselves."""

import copy

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.models.probe import candidates, input_shape
from btkd_det.models.teacher import Teacher
from tests.classifiers import build_classifier, distilled_resnet, tiny_resnet
from tests.conftest import build_detector, tiny_faster_rcnn

KD = dict(logits=dict(type='btkd_det.KDLoss'))


def lenet(channels=1):
    """LeNet of MMPretrain for gray images of 32 x 32 pixels."""
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.LeNet5', num_classes=7),
        head=dict(type='mmpretrain.ClsHead', loss=dict(type='mmpretrain.CrossEntropyLoss')),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', mean=[33.0], std=[79.0]),
    )


def vit(side):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
            img_size=side,
            patch_size=16,
        ),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=7, in_channels=16),
    )


def timm(side):
    pytest.importorskip('timm', reason="timm's models need timm")
    return dict(
        type='mmpretrain.TimmClassifier',
        model_name='vit_tiny_patch16_224',
        img_size=side,
        num_classes=7,
        head=None,
    )


def many_channels(count):
    model = tiny_resnet(mean=[1.0] * count, std=list(range(1, count + 1)))
    model['backbone']['in_channels'] = count
    return model


def pair(student, teacher, path, sites=KD):
    config = dict(config=copy.deepcopy(teacher), checkpoint=None)
    return build_classifier(distilled_resnet(config, sites, student))


@pytest.mark.parametrize(
    'model',
    [lenet(), vit(64), vit(384), many_channels(4), many_channels(6)],
    ids=['gray', 'vit 64', 'vit 384', 'four channels', 'six channels'],
)
def test_a_classifier_tells_by_itself_what_it_takes(model, tmp_path):
    assert pair(model, model, tmp_path).distill['logits']


def test_a_probe_of_the_data_is_the_one_that_counts(tmp_path):
    model = tiny_resnet()
    with input_shape((3, 40, 24)):
        distilled = distilled_resnet(dict(config=model), KD)
        distilled = build_classifier(distilled)
        assert candidates(distilled) == [(3, 40, 24)]
    assert candidates(distilled)[0] == (3, 128, 128)
    with input_shape((1, 48, 48)), pytest.raises(ConfigError) as caught:
        pair(tiny_resnet(), tiny_resnet(), tmp_path)
    assert 'images of 1 x 48 x 48 (channels, height, width), as the training data' in str(
        caught.value
    )
    assert 'do not go through the student' in str(caught.value)


def test_a_teacher_of_other_channels_is_named(tmp_path):
    with input_shape((1, 32, 32)), pytest.raises(ConfigError, match='^teacher.config: images of 1'):
        pair(lenet(), tiny_resnet(mean=[1.0], std=[2.0]), tmp_path)
    with pytest.raises(ConfigError, match="normalizes 4 channels, but the student's 3"):
        pair(tiny_resnet(mean=[1.0, 2, 3], std=[1.0] * 3), many_channels(4), tmp_path)


@pytest.mark.parametrize('count', [1, 3, 4])
def test_images_of_any_channels_are_normalized_anew(count):
    from mmpretrain.models import ClsDataPreprocessor

    means = torch.arange(count).float() * 10 + 7
    plain = many_channels(count)
    plain['data_preprocessor'].update(mean=means.tolist(), std=(means + 1).tolist())
    teacher = Teacher(build_classifier(plain))
    student = ClsDataPreprocessor(mean=[3.0] * count, std=[5.0] * count)
    raw = torch.randint(0, 256, (2, count, 8, 8), dtype=torch.uint8)
    teacher.follow(student)
    found = teacher.images(student(dict(inputs=raw))['inputs'])
    torch.testing.assert_close(found, teacher.model.data_preprocessor(dict(inputs=raw))['inputs'])


def gray_detector(width):
    model = tiny_faster_rcnn(width=width)
    model.backbone.in_channels = 1
    model.data_preprocessor.update(mean=[100.0], std=[50.0], bgr_to_rgb=False)
    return model


@pytest.mark.parametrize('shape', [None, (1, 64, 96), (1, 800, 1344)])
def test_a_gray_detector_is_distilled_at_fpn(shape):
    student = gray_detector(8)
    student.update(
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=gray_detector(12)),
        distill=dict(fpn=dict(type='btkd_det.FitNetLoss')),
    )
    with input_shape(shape):
        model = build_detector(student)
        shapes = candidates(model)
    assert model.distill['fpn']
    assert all(candidate[0] == 1 for candidate in shapes[:4])
    if shape == (1, 800, 1344):
        assert shapes[0] == (1, 128, 128)
        assert shapes[-1] == shape
    elif shape:
        assert shapes[0] == shape


def test_a_timm_model_tells_its_size(tmp_path):
    config = dict(config=timm(64), checkpoint=None)
    student = tiny_resnet()
    assert build_classifier(distilled_resnet(config, KD, student)).distill['logits']
