"""MMRazor's configs and checkpoints as ours: they build, train and say the same."""

import copy
import importlib
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import btkd_det
from btkd_det.errors import ConfigError
from btkd_det.from_mmrazor import convert_checkpoint, convert_config
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn

ROOT = Path(btkd_det.__file__).parents[1]


def needs(package, extra):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f'needs {package}: btkd_det[{extra}]'
    )


mmrazor = needs('mmrazor', 'mmrazor')
mmpretrain = needs('mmpretrain', 'classification')

# Five configs in the form that MMRazor's documentation teaches.

PKD_BY_LEVEL = """
_base_ = ['mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']
model = dict(
    _scope_='mmrazor',
    type='FpnTeacherDistill',
    architecture=dict(
        cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', pretrained=False
    ),
    teacher=dict(cfg_path='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', pretrained=False),
    teacher_ckpt='teacher.pth',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(fpn=dict(type='ModuleOutputs', source='neck')),
        teacher_recorders=dict(fpn=dict(type='ModuleOutputs', source='neck')),
        distill_losses={f'loss_{i}': dict(type='PKDLoss', loss_weight=6) for i in (0, 1, 3)},
        loss_forward_mappings={
            f'loss_{i}': dict(
                preds_S=dict(from_student=True, recorder='fpn', data_idx=i),
                preds_T=dict(from_student=False, recorder='fpn', data_idx=i),
            )
            for i in (0, 1, 3)
        },
    ),
)
find_unused_parameters = True
val_cfg = dict(_delete_=True, type='mmrazor.SingleTeacherDistillValLoop')
"""

CWD_OF_MODULES = """
_base_ = ['mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']
student = {student}
teacher = {teacher}
maps = {{
    f'fpn{{i}}': dict(type='ModuleOutputs', source=f'neck.fpn_convs.{{i}}.conv') for i in range(3)
}}
model = dict(
    _scope_='mmrazor',
    type='SingleTeacherDistill',
    architecture=dict(student, _scope_='mmdet'),
    teacher=dict(teacher, _scope_='mmdet'),
    teacher_ckpt='teacher.pth',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=maps,
        teacher_recorders=maps,
        distill_losses=dict(
            loss_cwd=dict(type='ChannelWiseDivergence', tau=2.0, loss_weight=5.0),
            loss_cwd2=dict(type='ChannelWiseDivergence', tau=1.0, loss_weight=10.0),
            loss_l2=dict(type='L2Loss', normalize=False, div_element=True, loss_weight=3.0),
        ),
        loss_forward_mappings=dict(
            loss_cwd=dict(
                preds_S=dict(from_student=True, recorder='fpn0'),
                preds_T=dict(from_student=False, recorder='fpn0'),
            ),
            loss_cwd2=dict(
                preds_S=dict(from_student=True, recorder='fpn1'),
                preds_T=dict(from_student=False, recorder='fpn1'),
            ),
            loss_l2=dict(
                s_feature=dict(from_student=True, recorder='fpn2'),
                t_feature=dict(from_student=False, recorder='fpn2'),
            ),
        ),
    ),
)
custom_hooks = [dict(type='mmrazor.StopDistillHook', stop_epoch=9)]
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={{'architecture.backbone': dict(lr_mult=0.1)}}))
"""

CLASSIFICATION = """
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(
    _scope_='mmrazor',
    type='SingleTeacherDistill',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py', pretrained=False),
    teacher=dict(cfg_path='mmpretrain::resnet/resnet34_8xb32_in1k.py', pretrained=False),
    teacher_ckpt='teacher.pth',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            fc=dict(type='ModuleOutputs', source='head.fc'),
            gt_labels=dict(type='ModuleInputs', source='head.loss_module'),
        ),
        teacher_recorders=dict(fc=dict(type='ModuleOutputs', source='head.fc')),
        distill_losses=dict(loss_kd=%s),
        loss_forward_mappings=dict(loss_kd=dict(%s)),
    ),
)
train_dataloader = dict(batch_size=4)
"""
PREDS = (
    "preds_S=dict(from_student=True, recorder='fc'),"
    "preds_T=dict(from_student=False, recorder='fc'),"
)
DKD = CLASSIFICATION % (
    "dict(type='DKDLoss', tau=1, beta=0.5, loss_weight=1, reduction='mean')",
    PREDS + "gt_labels=dict(recorder='gt_labels', from_student=True, data_idx=1)",
)
KL = CLASSIFICATION % ("dict(type='KLDivergence', tau=3, loss_weight=2, reduction='mean')", PREDS)
DIST = CLASSIFICATION % (
    "dict(type='DISTLoss', inter_loss_weight=1.0, intra_loss_weight=2.0, tau=4, loss_weight=2)",
    PREDS.replace('preds', 'logits'),
)

DETECTION, IMAGES = 'detection', 'images'
FORMS = {
    'pkd by level': (PKD_BY_LEVEL, DETECTION),
    'cwd and l2 of modules': (
        CWD_OF_MODULES.format(
            student=tiny_faster_rcnn().to_dict(), teacher=tiny_faster_rcnn(width=12).to_dict()
        ),
        DETECTION,
    ),
    'dkd': (DKD, IMAGES),
    'kl': (KL, IMAGES),
    'dist': (DIST, IMAGES),
}


def written(folder, text):
    path = folder / 'razor.py'
    path.write_text(text)
    return path


def in_mmrazor(path):
    """The algorithm that MMRazor builds of the config, with random weights."""
    importlib.import_module('btkd_det.compat.mmrazor')
    cfg = Config.fromfile(path)
    cfg.model.teacher_ckpt = None
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    # Far enough from 0 that a wrong temperature or weight shows.
    for part in (model.student, model.teacher):
        if hasattr(part.head if hasattr(part, 'head') else None, 'fc'):
            torch.nn.init.normal_(part.head.fc.weight, std=0.3)
    return model


def batch_of(kind):
    if kind == DETECTION:
        return detection_batch()
    from mmpretrain.structures import DataSample

    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    samples = [DataSample().set_gt_label(label) for label in (3, 999, 0, 17)]
    return dict(inputs=list(images.to(torch.uint8)), data_samples=samples)


def step(model, kind):
    model.train()
    data = model.data_preprocessor(batch_of(kind), training=True)
    torch.manual_seed(1)
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    return log


def distilled_part(log):
    return sum(v for name, v in log.items() if name.startswith('distill.') and 'loss' in name)


def twins(path, tmp_path):
    """MMRazor's algorithm, and ours of the converted config with the weights of its checkpoint."""
    razor = in_mmrazor(path)
    checkpoint, teacher = tmp_path / 'razor.pth', tmp_path / 'teacher.pth'
    torch.save(dict(meta=dict(epoch=3), state_dict=razor.state_dict()), checkpoint)
    torch.save(dict(state_dict=razor.teacher.state_dict()), teacher)
    out, student = tmp_path / 'ours.py', tmp_path / 'student.pth'
    conversion = convert_config(str(path))
    assert conversion.missing == []
    out.write_text(conversion.text())
    count = convert_checkpoint(checkpoint, student)
    assert count['taken'] == len(razor.student.state_dict())
    assert count['teacher'] == len(razor.teacher.state_dict())
    cfg = Config.fromfile(out)
    assert cfg.model.type.startswith('btkd_det.Distilled')
    assert cfg.model.teacher.checkpoint == 'teacher.pth'
    cfg.model.teacher.checkpoint = str(teacher)
    init_default_scope(cfg.default_scope)

    ours = MODELS.build(cfg.model)

    state = torch.load(student, weights_only=True)
    assert state['meta'] == dict(epoch=3)
    missing, unexpected = ours.load_state_dict(state['state_dict'], strict=False)
    assert [name for name in missing if not name.startswith('distill.')] == []
    assert unexpected == []
    return razor, ours


@mmrazor
@mmpretrain
@pytest.mark.usefixtures('progress')
@pytest.mark.parametrize('form', FORMS)
def test_five_forms_give_the_same_loss_and_the_checkpoint_the_same_predictions(form, tmp_path):
    text, kind = FORMS[form]
    razor, ours = twins(written(tmp_path, text), tmp_path)
    predictions = []
    for model in (razor, ours):
        model.eval()
        with torch.no_grad():
            data = model.data_preprocessor(batch_of(kind), training=False)
            predictions.append(model(**data, mode='predict'))
    for expected, found in zip(*predictions, strict=True):
        if kind == DETECTION:
            assert torch.equal(expected.pred_instances.scores, found.pred_instances.scores)
            assert torch.equal(expected.pred_instances.bboxes, found.pred_instances.bboxes)
        else:
            assert torch.equal(expected.pred_score, found.pred_score)
    same_losses(razor, ours, kind)
    assert any(p.grad.abs().sum() > 0 for p in ours.parameters() if p.grad is not None)


def same_losses(razor, ours, kind):
    expected, log = step(razor, kind), step(ours, kind)
    torch.testing.assert_close(distilled_part(log), distilled_part(expected), rtol=1e-4, atol=1e-6)
    assert distilled_part(log) > 0


# Small configs that say everything in themselves, changed in one place each.

TINY = tiny_faster_rcnn().to_dict()
WIDE = tiny_faster_rcnn(width=12, neck=24).to_dict()
CLASSIFIER = dict(
    type='mmpretrain.ImageClassifier',
    _scope_='mmpretrain',
    backbone=dict(type='ResNet', depth=18, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=512),
)


def at(student, teacher=None, loss=None, names=('preds_S', 'preds_T'), **model):
    """A distiller with one loss between two places, each a source and keys of its record."""
    places = [place if isinstance(place, tuple) else (place, {}) for place in (student, teacher)]
    if teacher is None:
        places[1] = places[0]
    recorders = [dict(a=dict(type='ModuleOutputs', source=source)) for source, _ in places]
    records = [
        dict(recorder='a', from_student=i == 0, **keys) for i, (_, keys) in enumerate(places)
    ]
    return dict(
        type='ConfigurableDistiller',
        student_recorders=recorders[0],
        teacher_recorders=recorders[1],
        distill_losses=dict(loss_a=loss or dict(type='PKDLoss')),
        loss_forward_mappings=dict(loss_a=dict(zip(names, records, strict=True))),
        **model,
    )


def small(tmp_path, distiller=None, student=TINY, teacher=TINY, top='', **model):
    """The path of a config; ``model`` and ``top`` add to the algorithm and to the config."""
    model = dict(
        _scope_='mmrazor',
        type='FpnTeacherDistill',
        architecture=student if 'cfg_path' in student else dict(dict(_scope_='mmdet'), **student),
        teacher=teacher if 'cfg_path' in teacher else dict(dict(_scope_='mmdet'), **teacher),
        distiller=distiller or at('neck'),
        **{'teacher_ckpt': 'teacher.pth', **model},
    )
    return written(tmp_path, f'default_scope = "mmdet"\nmodel = {model!r}\n{top}\n')


def without(model, key):
    return {name: value for name, value in model.items() if name != key}


def changed(model, **parts):
    model = copy.deepcopy(model)
    for name, change in parts.items():
        model[name].update(change)
    return model


L2 = dict(type='L2Loss', normalize=False, div_element=True)
PREPROCESSOR = dict(
    type='mmdet.DetDataPreprocessor', mean=[90.0, 100, 110], std=[50.0, 60, 70], pad_size_divisor=32
)
BARE = without(TINY, 'data_preprocessor')
RETINA = dict(start_level=1, add_extra_convs='on_input', num_outs=5, in_channels=[8, 16, 32, 64])
EXACT = {
    'a teacher without a preprocessor': dict(
        student=BARE, teacher=BARE, data_preprocessor=PREPROCESSOR
    ),
    "a teacher without a preprocessor, and the student's own": dict(teacher=BARE),
    'levels from the end': dict(distiller=at(('neck', dict(data_idx=-1)))),
    'other levels of the teacher': dict(
        distiller=at(('neck', dict(data_idx=0)), ('neck', dict(data_idx=2)))
    ),
    'an extra convolution of FPN': dict(
        student=changed(TINY, neck=RETINA),
        teacher=changed(TINY, neck=RETINA),
        distiller=at(
            'neck.fpn_convs.4.conv', 'neck.fpn_convs.4.conv', L2, names=('s_feature', 't_feature')
        ),
    ),
    'FPN with norm, by its blocks': dict(
        student=changed(TINY, neck=dict(norm_cfg=dict(type='BN'))),
        distiller=at('neck.fpn_convs.1'),
    ),
}


@mmrazor
@pytest.mark.usefixtures('progress')
@pytest.mark.parametrize('case', EXACT)
def test_what_is_translated_gives_the_same_loss(case, tmp_path):
    same_losses(*twins(small(tmp_path, **EXACT[case]), tmp_path), DETECTION)


@mmrazor
@mmpretrain
@pytest.mark.usefixtures('progress')
def test_a_part_of_another_package_stays_of_that_package(tmp_path):
    backbone = dict(type='ResNet', _scope_='mmpretrain', depth=18, out_indices=(0, 1, 2, 3))
    student = dict(tiny_faster_rcnn(width=64).to_dict(), backbone=dict(backbone, deep_stem=True))
    razor, ours = twins(small(tmp_path, student=student), tmp_path)
    assert type(ours.backbone).__module__.startswith('mmpretrain.')
    same_losses(razor, ours, DETECTION)


@mmrazor
@mmpretrain
@pytest.mark.usefixtures('progress')
def test_layers_are_found_among_the_maps_of_each_model(tmp_path):
    student = changed(CLASSIFIER, backbone=dict(out_indices=(2, 3)))
    teacher = changed(CLASSIFIER, backbone=dict(out_indices=(0, 1, 3)))
    distiller = at('backbone.layer4', None, L2, names=('s_feature', 't_feature'))
    preprocessor = dict(PREPROCESSOR, type='mmengine.ImgDataPreprocessor', pad_size_divisor=1)
    path = small(tmp_path, distiller, student, teacher, data_preprocessor=preprocessor)
    path.write_text(path.read_text().replace('"mmdet"', '"mmpretrain"').replace('Fpn', 'Single'))
    razor, ours = twins(path, tmp_path)
    assert ours.distill['features'][0].levels == ((1, 2),)
    same_losses(razor, ours, IMAGES)


@mmrazor
@pytest.mark.usefixtures('progress')
def test_a_plain_convolution_as_connector_is_an_adapter(tmp_path):
    connector = dict(type='ConvModuleConnector', in_channel=16, out_channel=24, act_cfg=None)
    student = ('neck', dict(data_idx=0, connector='c'))
    teacher = ('neck', dict(data_idx=0))
    names = ('s_feature', 't_feature')
    distiller = at(student, teacher, L2, names, connectors=dict(c=connector))
    razor, ours = twins(small(tmp_path, distiller, teacher=WIDE), tmp_path)
    ours.distill['fpn'][0].adapters['0'].load_state_dict(
        razor.distiller.connectors['c'].conv_module.conv.state_dict()
    )
    same_losses(razor, ours, DETECTION)


def connected(**change):
    connector = dict(type='ConvModuleConnector', in_channel=16, out_channel=24, act_cfg=None)
    connector = {k: v for k, v in dict(connector, **change).items() if v != 'left out'}
    student = ('neck', dict(data_idx=0, connector='c'))
    distiller = at(student, ('neck', dict(data_idx=0)), connectors=dict(c=connector))
    return dict(distiller=distiller, teacher=WIDE)


def idx(**keys):
    return dict(distiller=at(('neck', dict(data_idx=0, **keys)), ('neck', dict(data_idx=0))))


CONFIG_OF_ITS_OWN = dict(cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
GAP = changed(TINY, neck=dict(type='PAFPN'))
NORMED = changed(TINY, neck=dict(norm_cfg=dict(type='BN')))
NOT_EXACT = {
    'act': (connected(act_cfg='left out'), 'the connector c has no act_cfg, which means ReLU'),
    'other act': (connected(act_cfg=dict(type='GELU')), "the connector c has act_cfg={'type'"),
    'norm': (connected(norm_cfg=dict(type='BN')), "the connector c has norm_cfg={'type': 'BN'}"),
    'stride': (connected(stride=2), 'the connector c has stride=2'),
    'groups': (connected(groups=4), 'the connector c has groups=4'),
    'padding': (connected(padding=1), 'the connector c has padding=1'),
    'kernel': (connected(kernel_size=3, padding=1), 'the connector c has kernel_size=3'),
    'bias': (connected(bias=False), 'the connector c has bias=False'),
    'equal channels': (connected(out_channel=16), 'goes from 16 channels to as many'),
    'other connector': (connected(type='Paraphraser'), 'the connector c is a Paraphraser'),
    'place': (
        dict(distiller=at('neck', ('neck', dict(data_idx=1)))),
        'the student is asked at fpn and the teacher at fpn[1]',
    ),
    'record_idx': (idx(record_idx=1), 'record_idx=1 has no counterpart'),
    'connector_idx': (idx(connector_idx=1), 'connector_idx=1 has no counterpart'),
    'index': (dict(distiller=at(('neck', dict(data_idx=5)))), 'but the neck gives 5 maps'),
    'no number': (dict(distiller=at('neck.fpn_convs.x')), "'neck.fpn_convs.x' is none of neck,"),
    'PAFPN': (
        dict(student=GAP, teacher=GAP, distiller=at('neck.fpn_convs.1')),
        'for FPN alone, and this neck is PAFPN',
    ),
    "the teacher's PAFPN": (
        dict(teacher=GAP, distiller=at('neck.fpn_convs.1')),
        'for FPN alone, and this neck is PAFPN',
    ),
    'norm of FPN': (
        dict(student=NORMED, distiller=at('neck.fpn_convs.0.conv')),
        "'neck.fpn_convs.0.conv' is not what the neck gives",
    ),
    'pooled level': (dict(distiller=at('neck.fpn_convs.4')), "has no 'neck.fpn_convs.4': 4 conv"),
    'index of a tensor': (
        dict(distiller=at(('neck.fpn_convs.0', dict(data_idx=0)))),
        "data_idx=0, but 'neck.fpn_convs.0' gives a single tensor",
    ),
    'no loss': (
        dict(distiller=dict(at('neck'), distill_losses=dict(loss_a=None))),
        'None: no loss',
    ),
    'init_cfg': (
        dict(distiller=dict(at('neck'), init_cfg=dict(type='Pretrained'))),
        'model.distiller.init_cfg: ',
    ),
    'unknown key': (dict(student_trainabel=True), 'model.student_trainabel: not known'),
    'load_from': (dict(top="load_from = 'razor.pth'"), 'load_from: razor.pth is a checkpoint of'),
    'resume': (dict(top='resume = True'), 'resume: True; a training of MMRazor'),
    'constructor': (
        dict(top="optim_wrapper = dict(constructor='mmrazor.SeparateOptimWrapperConstructor')"),
        'optim_wrapper: mmrazor.SeparateOptimWrapperConstructor is of MMRazor',
    ),
    'wrapper': (
        dict(top="model_wrapper_cfg = dict(type='mmrazor.DCFFDDP')"),
        'model_wrapper_cfg: mmrazor.DCFFDDP is of MMRazor',
    ),
    'unprefixed hook': (
        dict(top="default_scope = 'mmrazor'\ncustom_hooks = [dict(type='RazorVisualizationHook')]"),
        'custom_hooks[0]: RazorVisualizationHook is of MMRazor',
    ),
    'hook at the root': (
        dict(top="custom_hooks = [dict(type='DMCPSubnetHook')]"),
        'custom_hooks[0]: DMCPSubnetHook is of MMRazor',
    ),
    'keys of the distiller': (
        dict(
            top='optim_wrapper = dict('
            "paramwise_cfg=dict(custom_keys={'distiller': dict(lr_mult=2)}))"
        ),
        'optim_wrapper.paramwise_cfg.custom_keys.distiller: btkd_det has no such parameters',
    ),
    'stop': (
        dict(
            top='train_cfg = dict(max_epochs=2)\n'
            "custom_hooks = [dict(type='mmrazor.StopDistillHook', stop_epoch=0)]"
        ),
        'stop_epoch=0 ends all of it',
    ),
}


@pytest.mark.parametrize('case', NOT_EXACT)
def test_what_would_learn_something_else_is_named(case, tmp_path):
    change, named = NOT_EXACT[case]
    missing = convert_config(str(small(tmp_path, **change))).missing
    assert any(named in line for line in missing), missing


def test_a_shared_connector_is_named(tmp_path):
    distiller = connected()['distiller']
    distiller['distill_losses']['loss_b'] = dict(type='PKDLoss')
    distiller['loss_forward_mappings']['loss_b'] = distiller['loss_forward_mappings']['loss_a']
    missing = convert_config(str(small(tmp_path, distiller, teacher=WIDE))).missing
    assert len(missing) == 2
    assert all('the connector c is shared by 2 losses' in line for line in missing)


@mmpretrain
@pytest.mark.parametrize(
    ('labels', 'named'),
    [
        (dict(recorder='gt_labels', from_student=True, data_idx=1), None),
        (dict(recorder='gt_labels', from_student=True, data_idx=0), 'gt_labels comes from Module'),
        (
            dict(recorder='fc', from_student=False, data_idx=1),
            "gt_labels comes from ModuleOutputs of 'head.fc'",
        ),
    ],
)
def test_labels_other_than_the_true_ones_are_named(labels, named, tmp_path):
    given = "gt_labels=dict(recorder='gt_labels', from_student=True, data_idx=1)"
    text = DKD.replace(given.replace("\\'", "'"), f'gt_labels={labels!r}')
    assert repr(labels) in text
    missing = converted(tmp_path, text).missing
    assert missing == [] if named is None else named in missing[0], missing


def test_keys_beside_the_path_of_a_config_take_part(tmp_path):
    beside = dict(init_cfg=dict(type='Pretrained', checkpoint='mine.pth'), use_depth=1)
    conversion = convert_config(
        str(
            small(
                tmp_path,
                student=dict(CONFIG_OF_ITS_OWN, pretrained=False, **beside),
                teacher=dict(CONFIG_OF_ITS_OWN, pretrained=True, **beside),
                teacher_ckpt=None,
            )
        )
    )
    assert conversion.missing == []
    model = conversion.cfg.model
    assert (model.init_cfg.checkpoint, model.use_depth) == ('mine.pth', 1)
    assert (model.teacher.config.use_depth, model.teacher.config.backbone.depth) == (1, 50)
    assert model.teacher.checkpoint.startswith('https://')
    assert any(note.startswith('model.teacher.init_cfg: left out') for note in conversion.notes)


def test_weights_of_the_zoo_are_asked_for_as_before(tmp_path):
    asked = dict(CONFIG_OF_ITS_OWN, pretrained=True)
    cfg = convert_config(str(small(tmp_path, student=asked, teacher=asked, teacher_ckpt=None))).cfg
    assert cfg.load_from.startswith('https://')
    assert cfg.model.teacher.to_dict() == dict(
        config=CONFIG_OF_ITS_OWN['cfg_path'], checkpoint='pretrained'
    )


def test_a_teacher_that_is_normalized_otherwise_is_noted(tmp_path):
    teacher = changed(TINY, data_preprocessor=dict(mean=[0.0, 0, 0]))
    notes = convert_config(str(small(tmp_path, teacher=teacher))).notes
    assert any('normalized by its own data_preprocessor' in note for note in notes)
    assert not any('normalized' in note for note in convert_config(str(small(tmp_path))).notes)


def test_imports_of_mmrazor_are_left_out_and_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmrazor', None)
    imports = "dict(imports=['mmrazor.models', 'no_such_package'], allow_failed_imports=True)"
    path = small(tmp_path, top=f'custom_imports = {imports}')
    with pytest.warns(UserWarning, match='no_such_package failed to import'):
        cfg = convert_config(str(path)).cfg
    assert cfg.custom_imports == dict(
        imports=['no_such_package', 'btkd_det'], allow_failed_imports=True
    )


def test_the_former_name_of_mmpretrain_is_known_in_pipelines(tmp_path):
    pipeline = "[dict(type='LoadImageFromFile'), dict(type='mmcls.RandAugment')]"
    top = f'train_dataloader = dict(dataset=dict(pipeline={pipeline}))'
    cfg = convert_config(str(small(tmp_path, top=top))).cfg
    types = [part.type for part in cfg.train_dataloader.dataset.pipeline]
    assert types == ['LoadImageFromFile', 'mmpretrain.RandAugment']


def test_what_mmengine_has_means_the_same_in_the_new_scope(tmp_path):
    """MMDetection has a RandomFlip of its own."""
    pipeline = "[dict(type='RandomFlip'), dict(type='mmdet.Resize')]"
    top = f'default_scope = "mmrazor"\ntrain_dataloader = dict(dataset=dict(pipeline={pipeline}))'
    conversion = convert_config(str(small(tmp_path, top=top)))
    assert conversion.missing == []
    types = [part.type for part in conversion.cfg.train_dataloader.dataset.pipeline]
    assert types == ['mmengine.RandomFlip', 'mmdet.Resize']


def test_what_mmengine_has_leaves_mmrazors_scope(tmp_path):
    wrapper = "dict(_scope_='mmrazor', type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))"
    conversion = convert_config(str(small(tmp_path, top=f'optim_wrapper = {wrapper}')))
    assert conversion.missing == []
    expected = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    assert conversion.cfg.optim_wrapper.to_dict() == expected


PACKAGED = 'mmrazor::distill/mmdet/pkd/pkd_fpn_faster-rcnn_r101_faster-rcnn_r50_2x_coco.py'


@mmrazor
@pytest.mark.parametrize('as_base', [False, True])
def test_a_config_of_mmrazors_own_is_taken_by_its_name(as_base, tmp_path):
    path = str(written(tmp_path, f'_base_ = {PACKAGED!r}')) if as_base else PACKAGED
    conversion = convert_config(path)
    assert conversion.missing == []
    assert conversion.cfg.val_cfg.to_dict() == dict(type='ValLoop')
    assert conversion.cfg.model.distill.fpn.levels == (0, 1, 2, 3)
    assert '_scope_' not in conversion.text()


@mmrazor
def test_types_in_mmrazors_scope_are_named_in_its_own_configs():
    name = 'cwd/cwd_fpn_retina_r101_retina_r50_1x_coco_visualization.py'
    missing = convert_config(f'mmrazor::distill/mmdet/{name}').missing
    assert 'default_hooks.visualization: RazorVisualizationHook is of MMRazor' in missing


def converted(tmp_path, text):
    return convert_config(str(written(tmp_path, text)))


def test_levels_of_one_loss_are_joined(tmp_path):
    cfg = converted(tmp_path, PKD_BY_LEVEL).cfg
    assert cfg.model.distill.to_dict() == dict(
        fpn=dict(type='btkd_det.PKDLoss', loss_weight=6, levels=(0, 1, 3))
    )
    assert cfg.model.teacher.config == 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'
    assert cfg.val_cfg.type == 'ValLoop'
    assert 'find_unused_parameters' not in cfg


def test_hooks_and_the_optimizers_keys_follow(tmp_path):
    cfg = converted(tmp_path, FORMS['cwd and l2 of modules'][0]).cfg
    assert cfg.custom_hooks == []
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {'backbone': dict(lr_mult=0.1)}
    fpn = cfg.model.distill.fpn.to_dict()
    assert fpn['stop_at'] == 9 / 12
    assert [(loss['type'], loss['levels']) for loss in fpn['losses']] == [
        ('btkd_det.CWDLoss', (0,)),
        ('btkd_det.CWDLoss', (1,)),
        ('btkd_det.FitNetLoss', (2,)),
    ]


def test_our_distillers_sites_are_taken_as_they_are():
    """That config names its models by files, too."""
    path = ROOT / 'configs/mmrazor/btkd-pkd_faster-rcnn_r18w8-r18w32_fpn_5e_shapes.py'
    conversion = convert_config(str(path))
    assert conversion.missing == []
    model, razor = conversion.cfg.model, Config.fromfile(path).model
    assert model.distill == razor.distiller.distill
    assert model.teacher.config == 'btkd_det::shapes/faster-rcnn_r18w32_fpn_5e_shapes.py'
    assert model.backbone == razor.architecture.backbone
    assert conversion.cfg.custom_imports['imports'] == ['btkd_det']


def test_a_site_of_our_distiller_stops_at_the_earlier_of_two_points(tmp_path):
    site = "dict(losses=dict(type='btkd_det.PKDLoss'), stop_at={})"
    text = PKD_BY_LEVEL.replace("'ConfigurableDistiller'", "'btkd_det.BTKDDistiller'")
    text = (
        text[: text.index('        student_recorders')]
        + '        distill=dict(fpn={}),\n    ),\n)\n'
    )
    hook = "custom_hooks = [dict(type='mmrazor.StopDistillHook', stop_epoch=9)]\n"
    for given, expected in ((0.5, 0.5), (0.9, 0.75)):
        cfg = converted(tmp_path, text.replace('{}', site.format(given)) + hook).cfg
        assert cfg.model.distill.to_dict() == dict(
            fpn=dict(losses=dict(type='btkd_det.PKDLoss'), stop_at=expected)
        )


def test_an_rtmdet_normalizes_over_all_processes_as_its_own_class_does(tmp_path):
    text = PKD_BY_LEVEL.replace(
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    )
    model = converted(tmp_path, text).cfg.model
    assert model.type == 'btkd_det.DistilledSingleStageDetector'
    assert model.use_syncbn is True


@mmpretrain
def test_the_former_name_of_mmpretrain_is_known(tmp_path):
    cfg = converted(tmp_path, DKD.replace('mmpretrain::', 'mmcls::')).cfg
    assert cfg.model.teacher.config == 'mmpretrain::resnet/resnet34_8xb32_in1k.py'
    assert cfg.default_scope == 'mmpretrain'
    assert cfg.model.backbone.depth == 18


@mmpretrain
def test_dkds_mean_is_named_as_the_sum_that_it_is(tmp_path):
    conversion = converted(tmp_path, DKD)
    assert conversion.cfg.model.distill.logits.loss_weight == 4
    assert any("'mean' is MMRazor's sum over the batch" in note for note in conversion.notes)


@pytest.mark.parametrize(
    ('before', 'after', 'named'),
    [
        ("type='PKDLoss'", "type='ABLoss'", 'distill_losses.loss_0: ABLoss: not among L2Loss'),
        (
            "teacher_recorders=dict(fpn=dict(type='ModuleOutputs', source='neck'))",
            "teacher_recorders=dict(fpn=dict(type='ModuleOutputs', source='rpn_head.rpn_conv'))",
            "DistilledTwoStageDetector has no site at 'rpn_head.rpn_conv'",
        ),
        ("teacher_ckpt='teacher.pth'", 'teacher_trainable=True', 'model.teacher_trainable: True'),
        ("teacher_ckpt='teacher.pth'", 'teacher_ckpt=None', 'model.teacher_ckpt: missing'),
        ('loss_weight=6)', 'loss_weight=6, resize_stu=False)', 'resize_stu=False'),
        ('loss_weight=6)', 'loss_weight=6, tau=2)', "the key 'tau' is not known"),
        (
            'distill_losses=',
            "distill_deliveries=dict(a=dict(type='MethodOutputs')), distill_losses=",
            'distill_deliveries.a: ',
        ),
        (
            'data_idx=i),\n            )',
            "data_idx=i, connector='c'),\n            )",
            'the connector c',
        ),
        ("f'loss_{i}'", "f'pkd_{i}'", "a name without 'loss' is logged"),
        ('find_unused', "custom_hooks = [dict(type='mmrazor.DumpHook')]\nfind_unused", 'DumpHook'),
    ],
)
def test_what_has_no_counterpart_is_named_and_nothing_is_written(before, after, named, tmp_path):
    assert before in PKD_BY_LEVEL
    path = written(tmp_path, PKD_BY_LEVEL.replace(before, after))
    missing = convert_config(str(path)).missing
    assert any(named in line for line in missing), missing


@pytest.fixture
def tool(monkeypatch, capsys, tmp_path):
    """Runs the command in this process, in a folder of its own; its exit, and what it printed."""
    spec = importlib.util.spec_from_file_location('from_mmrazor', ROOT / 'tools/from_mmrazor.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['from_mmrazor.py', *map(str, args)])
        try:
            module.main()
            code = None
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    run.parse_args = module.parse_args
    return run


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--out', '.'), 'error: --out: . is a folder'),
        (('--out', 'razor.py'), 'error: --out: razor.py is what is to be translated'),
        (('--out', 'razor.py/a.py'), 'error: --out: razor.py/a.py goes through a file'),
        (('--checkpoint', 'r.pth', '--checkpoint-out', '.'), 'error: --checkpoint-out: . is a fol'),
        (
            ('--checkpoint', 'r.pth', '--checkpoint-out', 'r.pth'),
            'error: --checkpoint-out: r.pth is what is to be translated',
        ),
        (
            ('--checkpoint', 'none.pth', '--checkpoint-out', 's.pth'),
            'valid: a checkpoint that MMRazor saved while distilling',
        ),
        (('--checkpoint', 'razor.py', '--checkpoint-out', 's.pth'), 'error: checkpoint: razor.py'),
    ],
)
def test_the_tool_writes_nothing_where_something_cannot_be(args, message, tool, tmp_path):
    path = small(tmp_path)
    torch.save({'architecture.a': torch.ones(2)}, 'r.pth')
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    code, _ = tool(path.name, *args)
    assert message in str(code)
    assert "'pretrained'" not in str(code)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_documented_commands_are_those_of_the_tool(tool):
    found = []
    for name in ('configs/mmrazor/README.md', 'docs/from_mmrazor.md'):
        text = (ROOT / name).read_text().replace('\\\n', ' ')
        commands = [line for line in text.splitlines() if 'tools/from_mmrazor.py ' in line]
        found += [shlex.split(line.strip('`'))[2:] for line in commands]
    assert len(found) >= 3
    for args in found:
        tool.parse_args(args)


def run_tool(*args):
    command = [sys.executable, ROOT / 'tools/from_mmrazor.py', *args]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_the_tool_writes_nothing_that_is_incomplete_unless_asked(tmp_path):
    text = CWD_OF_MODULES.format(student=TINY, teacher=TINY)
    path = written(tmp_path, text.replace("type='L2Loss'", "type='ABLoss'"))
    out = tmp_path / 'out.py'
    refused = run_tool(path, '--out', out)
    assert refused.returncode == 1
    assert 'not translated: model.distiller.distill_losses.loss_l2: ABLoss: ' in refused.stderr
    assert not out.exists()
    assert run_tool(path, '--out', out, '--partial').returncode == 0
    assert '# Not translated: model.distiller.distill_losses.loss_l2' in out.read_text()


def test_the_tool_writes_no_config_without_a_loss(tmp_path):
    path = written(tmp_path, PKD_BY_LEVEL.replace("'PKDLoss'", "'ABLoss'"))
    out = tmp_path / 'out.py'
    refused = run_tool(path, '--out', out, '--partial')
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith('error: none of its losses is left')
    assert not out.exists()


def test_the_tool_writes_config_and_student(tmp_path):
    path = written(tmp_path, PKD_BY_LEVEL)
    weights = {'architecture.a': torch.ones(2), 'teacher.a': torch.zeros(2)}
    torch.save(dict(state_dict=weights), tmp_path / 'razor.pth')
    files = ['--out', tmp_path / 'out.py', '--checkpoint', tmp_path / 'razor.pth']
    done = run_tool(path, *files, '--checkpoint-out', tmp_path / 'student.pth')
    assert done.returncode == 0, done.stderr
    assert '1 tensors of the student; left behind: 1 of the teacher, 0 of the di' in done.stdout
    assert Config.fromfile(tmp_path / 'out.py').model.type == 'btkd_det.DistilledTwoStageDetector'
    state = torch.load(tmp_path / 'student.pth', weights_only=True)['state_dict']
    assert list(state) == ['a']


@pytest.mark.parametrize(
    ('before', 'after', 'message'),
    [
        ("'FpnTeacherDistill'", "'SelfDistill'", "its model is 'SelfDistill'; valid is a distill"),
        ("'ConfigurableDistiller'", "'BYOTDistiller'", "model.distiller is 'BYOTDistiller'"),
        ('faster-rcnn_r50', 'faster-rcnn_r5', r'model\.architecture\.cfg_path: mmdet::faster'),
        (
            "cfg_path='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', pretrained=False",
            "type='mmseg.EncoderDecoder'",
            r'model\.architecture: EncoderDecoder has no distilled class; these have: TwoStage',
        ),
    ],
)
def test_configs_that_are_something_else_are_refused(before, after, message, tmp_path):
    path = written(tmp_path, PKD_BY_LEVEL.replace(before, after))
    with pytest.raises(ConfigError, match=message):
        convert_config(str(path))


def test_a_checkpoint_of_a_plain_model_is_refused(tmp_path):
    torch.save(build_detector(tiny_faster_rcnn()).state_dict(), tmp_path / 'plain.pth')
    with pytest.raises(ConfigError, match='has no weights below "architecture."; its first is'):
        convert_checkpoint(tmp_path / 'plain.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_a_checkpoint_that_would_have_to_be_executed_is_refused(tmp_path):
    torch.save(dict(state_dict={}, meta=copy.copy), tmp_path / 'bad.pth')
    with pytest.raises(ConfigError, match='checkpoint'):
        convert_checkpoint(tmp_path / 'bad.pth', tmp_path / 'out.pth')
