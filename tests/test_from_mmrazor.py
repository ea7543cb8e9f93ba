"""MMRazor's configs and checkpoints as ours: they build, train and say the same."""

import copy
import importlib
import importlib.util
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


@mmrazor
@mmpretrain
@pytest.mark.usefixtures('progress')
@pytest.mark.parametrize('form', FORMS)
def test_five_forms_give_the_same_loss_and_the_checkpoint_the_same_predictions(form, tmp_path):
    text, kind = FORMS[form]
    path = written(tmp_path, text)
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
    expected, log = step(razor, kind), step(ours, kind)
    torch.testing.assert_close(distilled_part(log), distilled_part(expected), rtol=1e-4, atol=1e-6)
    assert distilled_part(log) > 0
    assert any(p.grad.abs().sum() > 0 for p in ours.parameters() if p.grad is not None)


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
        ("type='PKDLoss'", "type='MGDLoss'", 'distill_losses.loss_0: MGDLoss: not among L2Loss'),
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


def run_tool(*args):
    command = [sys.executable, ROOT / 'tools/from_mmrazor.py', *args]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_the_tool_writes_nothing_that_is_incomplete_unless_asked(tmp_path):
    path = written(tmp_path, PKD_BY_LEVEL.replace("'PKDLoss'", "'MGDLoss'"))
    out = tmp_path / 'out.py'
    refused = run_tool(path, '--out', out)
    assert refused.returncode == 1
    assert 'not translated: model.distiller.distill_losses.loss_0: MGDLoss: ' in refused.stderr
    assert not out.exists()
    assert run_tool(path, '--out', out, '--partial').returncode == 0
    assert '# Not translated: model.distiller.distill_losses.loss_0' in out.read_text()


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
