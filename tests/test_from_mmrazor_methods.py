"""MMRazor's FBKD, MGD, RKD and WSLD as ours: the same loss, or what stands in the way by name."""

import re

import pytest

from btkd_det.from_mmrazor import convert_config
from tests.test_from_mmrazor import (
    CLASSIFIER,
    DETECTION,
    IMAGES,
    PREPROCESSOR,
    at,
    changed,
    mmpretrain,
    mmrazor,
    same_losses,
    small,
    twins,
)

pytestmark = pytest.mark.usefixtures('progress')

MGD = dict(type='MGDConnector', student_channels=16, teacher_channels=16)
FBKD = dict(in_channels=16, reduction=4, mode='dot_product', sub_sample=True, maxpool_stride=2)
STUDENT = dict(FBKD, type='FBKDStudentConnector')
TEACHER = dict(FBKD, type='FBKDTeacherConnector')


def mgd(loss=None, **change):
    connector = dict(MGD, **change)
    student = ('neck', dict(data_idx=1, connector='s'))
    loss = dict(type='MGDLoss', alpha_mgd=3e-5, **(loss or {}))
    return at(student, ('neck', dict(data_idx=1)), loss, connectors=dict(s=connector))


def fbkd(student=STUDENT, teacher=TEACHER, **weights):
    places = [('neck', dict(data_idx=1, connector=name)) for name in 'st']
    loss = dict(type='FBKDLoss', **weights)
    names = ('s_input', 't_input')
    return at(*places, loss, names, connectors=dict(s=student, t=teacher))


@mmrazor
def test_mgd(tmp_path):
    # Without a mask, which either draws at a moment of its own.
    path = small(tmp_path, mgd(lambda_mgd=0.0))
    razor, ours = twins(path, tmp_path)
    (loss,) = ours.distill['fpn']
    loss.level_modules['1'].load_state_dict(razor.distiller.connectors['s'].generation.state_dict())
    assert loss.mask_ratio == 0
    same_losses(razor, ours, DETECTION)


@mmrazor
def test_fbkd(tmp_path):
    distiller = fbkd(mask_l2_weight=1e-2, nonloacl_weight=2e-2, loss_weight=3.0)
    razor, ours = twins(small(tmp_path, distiller), tmp_path)
    modules = ours.distill['fpn'][0].level_modules['1']
    student, teacher = (razor.distiller.connectors[name] for name in 'st')
    copies = (
        ('feature', student.adaptation_layers),
        ('channel', student.channel_wise_adaptation),
        ('spatial', student.spatial_wise_adaptation),
        ('relation', student.non_local_adaptation),
    )
    for name, module in copies:
        modules[name].load_state_dict(module.state_dict())
    for name, block in (
        ('student', student.student_non_local),
        ('teacher', teacher.teacher_non_local),
    ):
        modules[name].value.load_state_dict(block.g[0][0].conv.state_dict())
        modules[name].key.load_state_dict(block.phi[0][0].conv.state_dict())
        modules[name].query.load_state_dict(block.theta.conv.state_dict())
        modules[name].out.load_state_dict(block.conv_out.conv.state_dict())
        for norm in (modules[name].norm, block.conv_out.norm):
            norm.weight.data.fill_(50.0)
    same_losses(razor, ours, DETECTION)


def of_classifier(tmp_path, distiller, **parts):
    model = changed(CLASSIFIER, **parts)
    preprocessor = dict(PREPROCESSOR, type='mmengine.ImgDataPreprocessor', pad_size_divisor=1)
    path = small(tmp_path, distiller, model, model, data_preprocessor=preprocessor)
    path.write_text(path.read_text().replace('"mmdet"', '"mmpretrain"').replace('Fpn', 'Single'))
    return path


@mmrazor
@mmpretrain
@pytest.mark.parametrize(
    ('kind', 'ours'), [('DistanceWiseRKD', 'RKDDistanceLoss'), ('AngleWiseRKD', 'RKDAngleLoss')]
)
@pytest.mark.parametrize('options', [{}, dict(with_l2_norm=False, loss_weight=7.0)])
def test_rkd(kind, ours, options, tmp_path):
    path = of_classifier(tmp_path, at('neck.gap', None, dict(type=kind, **options)))
    razor, model = twins(path, tmp_path)
    assert type(model.distill['features'][0]).__name__ == ours
    same_losses(razor, model, IMAGES)


@mmrazor
@mmpretrain
def test_wsld(tmp_path):
    labels = dict(recorder='b', from_student=True, data_idx=1)
    distiller = at(
        'head.fc', None, dict(type='WSLD', tau=2, loss_weight=2.5), ('student', 'teacher')
    )
    distiller['student_recorders']['b'] = dict(type='ModuleInputs', source='head.loss_module')
    distiller['loss_forward_mappings']['loss_a']['gt_labels'] = labels
    razor, model = twins(of_classifier(tmp_path, distiller), tmp_path)
    same_losses(razor, model, IMAGES)


SHARED = mgd()
SHARED['distill_losses']['loss_b'] = dict(type='MGDLoss')
SHARED['loss_forward_mappings']['loss_b'] = SHARED['loss_forward_mappings']['loss_a']


@pytest.mark.parametrize(
    ('distiller', 'named'),
    [
        (at('neck', None, dict(type='MGDLoss')), 'connector None; valid .* a MGDConnector'),
        (mgd(mask_on_channel=True), 'the connector s has mask_on_channel=True'),
        (mgd(type='TorchFunctionalConnector'), "the connector 's'; valid .* a MGDConnector"),
        (mgd(dict(loss_weight=2)), "the key 'loss_weight' is not known"),
        (SHARED, 'the connector s is shared by 2 losses'),
        (fbkd(dict(STUDENT, mode='gaussian')), "the connector s has mode='gaussian'"),
        (fbkd(teacher=dict(TEACHER, zeros_init=False)), 'the connector t has zeros_init=False'),
        (fbkd(teacher=dict(TEACHER, reduction=2)), "its connectors differ: .*'reduction': 4"),
        (fbkd(teacher=STUDENT), 't_input comes .* a FBKDTeacherConnector'),
        (at('neck', None, dict(type='AngleWiseRKD')), "means of maps; valid .*'neck.gap'"),
    ],
)
def test_what_would_learn_something_else_is_named(distiller, named, tmp_path):
    missing = convert_config(str(small(tmp_path, distiller))).missing
    assert any(re.search(named, line) for line in missing), missing


@mmpretrain
@pytest.mark.parametrize(
    ('parts', 'loss', 'named'),
    [
        (dict(backbone=dict(out_indices=(2, 3))), 'AngleWiseRKD', r'out_indices=\[2, 3\]'),
        (dict(neck=dict(type='LinearNeck')), 'AngleWiseRKD', "here 'LinearNeck'"),
        (dict(), 'PKDLoss', "given the means of maps at 'neck.gap'"),
    ],
)
def test_where_the_means_of_maps_are_not(parts, loss, named, tmp_path):
    path = of_classifier(tmp_path, at('neck.gap', None, dict(type=loss)), **parts)
    missing = convert_config(str(path)).missing
    assert any(re.search(named, line) for line in missing), missing


@mmrazor
@mmpretrain
@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        (
            'mmdet/mgd/mgd_fpn_retina_x101_retina_r50_2x_coco',
            dict(
                fpn=dict(
                    type='btkd_det.MGDLoss',
                    mask_ratio=0.65,
                    loss_weight=2e-5,
                    levels=(0, 1, 2, 3, 4),
                )
            ),
        ),
        (
            'mmdet/fbkd/fbkd_fpn_faster-rcnn_r101_faster-rcnn_r50_1x_coco',
            dict(
                fpn=[
                    dict(type='btkd_det.FBKDLoss', reduction=reduction, pool=pool, levels=levels)
                    for levels, reduction, pool in (((0,), 4, 16), ((1,), 4, 8), ((2, 3), 2, 4))
                ]
            ),
        ),
        (
            'mmcls/wsld/wsld_logits_resnet34_resnet18_8xb32_in1k',
            dict(logits=dict(type='btkd_det.WSLDLoss', temperature=2, loss_weight=2.5)),
        ),
        (
            'mmcls/rkd/rkd_neck_resnet34_resnet18_8xb32_in1k',
            dict(
                features=[
                    dict(type=f'btkd_det.{kind}', l2_norm=True, loss_weight=weight, levels=(0,))
                    for kind, weight in (('RKDDistanceLoss', 25), ('RKDAngleLoss', 50))
                ]
            ),
        ),
    ],
)
def test_mmrazors_own_configs(name, expected):
    conversion = convert_config(f'mmrazor::distill/{name}.py')
    assert conversion.missing == []
    defaults = dict(
        feature_weight=7e-5,
        channel_weight=4e-3,
        spatial_weight=4e-3,
        relation_weight=7e-5,
        loss_weight=1.0,
        temperature=0.5,
    )
    found = conversion.cfg.model.distill.to_dict()
    for losses in found.values():
        for loss in losses if isinstance(losses, list) else [losses]:
            if loss['type'] == 'btkd_det.FBKDLoss':
                assert {key: loss.pop(key) for key in defaults} == defaults
    assert found == expected


@mmrazor
def test_the_preset_of_fbkd_is_the_config_that_it_names():
    from btkd_det.config import PRESETS
    from btkd_det.config.distilled_types import TWO_STAGE

    name = 'fbkd/fbkd_fpn_faster-rcnn_r101_faster-rcnn_r50_1x_coco'
    converted = convert_config(f'mmrazor::distill/mmdet/{name}.py').cfg.model.distill.fpn
    preset = PRESETS['fbkd'][TWO_STAGE]['fpn']
    keys = ('type', 'levels', 'reduction', 'pool')
    assert [{key: loss[key] for key in keys} for loss in converted] == preset
