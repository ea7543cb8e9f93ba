"""The distilled two-stage detector: itself where distillation is off, one set of RoIs where on."""

import copy

import pytest
import torch
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.models import DistilledTwoStageDetector, Teacher
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn

KD = dict(type='btkd_det.KDLoss', temperature=2.0)


def distilled(student, teacher, checkpoint, distill):
    return dict(
        student,
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=teacher, checkpoint=checkpoint),
        distill=distill,
    )


def one_step(model, seed=1):
    """Losses and gradients of one training step under a seed (RoIs are sampled at random)."""
    model.train()
    data = model.data_preprocessor(detection_batch(), training=True)
    torch.manual_seed(seed)
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    model.zero_grad()
    total.backward()
    return losses, log, {name: p.grad for name, p in model.named_parameters()}


def test_empty_distill_is_the_plain_detector_bit_for_bit(
    student_config, teacher_config, teacher_checkpoint
):
    plain = build_detector(student_config)
    off = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, {}))
    assert list(off.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, off.state_dict()[name]), name
    _, log_plain, grads_plain = one_step(plain)
    _, log_off, grads_off = one_step(off)
    assert list(log_plain) == list(log_off)
    assert all(torch.equal(log_plain[k], log_off[k]) for k in log_plain)
    assert all(torch.equal(grads_plain[k], grads_off[k]) for k in grads_plain)


def test_distillation_adds_to_the_plain_losses_and_changes_none_of_them(
    student_config, teacher_config, teacher_checkpoint
):
    plain = build_detector(student_config)
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    )
    _, log_plain, grads_plain = one_step(plain)
    _, log, grads = one_step(model)
    own = [key for key in log if key not in log_plain]
    assert own == ['distill.roi_logits.loss_kd']
    assert log[own[0]] > 0
    assert all(torch.equal(log_plain[k], log[k]) for k in log_plain if k != 'loss')
    torch.testing.assert_close(log['loss'], log_plain['loss'] + log[own[0]])
    changed = 'roi_head.bbox_head.fc_cls.weight'
    assert not torch.equal(grads[changed], grads_plain[changed])


def test_loss_is_the_host_loss_on_the_rois_of_both_heads(
    student_config, teacher_config, teacher_checkpoint
):
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    )
    seen = []
    for head in (model.roi_head.bbox_head, model.teacher.model.roi_head.bbox_head):
        head.register_forward_hook(lambda module, args, result: seen.append(result[0]))
    rois = []
    for roi_head in (model.roi_head, model.teacher.model.roi_head):
        roi_head.bbox_roi_extractor.register_forward_hook(
            lambda module, args, result: rois.append(args[1])
        )
    losses, _, _ = one_step(model)
    assert torch.equal(rois[0], rois[1])
    student, teacher = (logits.double() / 2 for logits in seen)
    expected = 4 * nn.functional.kl_div(
        student.log_softmax(1), teacher.softmax(1), reduction='batchmean'
    )
    torch.testing.assert_close(losses['distill.roi_logits.loss_kd'].double(), expected)


def test_teacher_runs_neither_rpn_nor_assigner(student_config, teacher_config, teacher_checkpoint):
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    )
    teacher = model.teacher.model

    def must_not_run(*args, **kwargs):
        raise AssertionError('the teacher does not propose, assign or sample')

    teacher.rpn_head.forward = must_not_run
    teacher.roi_head.bbox_assigner = must_not_run
    teacher.roi_head.bbox_sampler = must_not_run
    one_step(model)


def test_several_losses_at_one_site_are_logged_apart(
    student_config, teacher_config, teacher_checkpoint
):
    twice = dict(roi_logits=[KD, dict(KD, temperature=4.0), dict(type='btkd_det.DKDLoss')])
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, twice))
    _, log, _ = one_step(model)
    assert [key for key in log if key.startswith('distill.')] == [
        'distill.roi_logits.loss_kd',
        'distill.roi_logits.loss_kd2',
        'distill.roi_logits.loss_dkd',
    ]
    assert log['distill.roi_logits.loss_kd'] != log['distill.roi_logits.loss_kd2']


def test_the_box_head_is_left_as_it_was(student_config, teacher_config, teacher_checkpoint):
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    )
    one_step(model)
    assert 'loss_and_target' not in vars(model.roi_head.bbox_head)


def test_the_teacher_is_in_no_parameter_state_or_copy(
    student_config, teacher_config, teacher_checkpoint
):
    plain = build_detector(student_config)
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    )
    assert isinstance(model.teacher, Teacher)
    assert list(model.state_dict()) == list(plain.state_dict())
    guests = {id(p) for p in model.teacher.parameters()}
    assert not guests & {id(p) for p in model.parameters()}
    assert copy.deepcopy(model).teacher is model.teacher
    one_step(model)
    assert all(p.grad is None for p in model.teacher.parameters())


def test_the_teacher_stays_in_eval_mode_and_follows_the_student(
    student_config, teacher_config, teacher_checkpoint
):
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    )
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    model.train()
    model.teacher.train()
    one_step(model)
    assert not any(module.training for module in model.teacher.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())
    model.double()
    assert {p.dtype for p in model.teacher.parameters()} == {torch.float64}
    model.to('meta')
    assert {p.device.type for p in model.teacher.parameters()} == {'meta'}


def test_checkpoint_loads_into_the_plain_config(student_config, teacher_config, teacher_checkpoint):
    model = build_detector(
        distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD)), seed=3
    )
    plain = build_detector(student_config)
    result = plain.load_state_dict(model.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(key.startswith('distill.') for key in result.unexpected_keys)
    batch = detection_batch()
    predictions = []
    for detector in (plain, model):
        detector.eval()
        with torch.no_grad():
            predictions.append(detector.test_step(copy.deepcopy(batch)))
    for a, b in zip(*predictions, strict=True):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
        assert torch.equal(a.pred_instances.scores, b.pred_instances.scores)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(distill=dict(roi_logit=KD)), ["unknown site 'roi_logit'", 'valid', 'roi_logits']),
        (
            dict(distill=dict(roi_logits=dict(type='btkd_det.KdLoss'))),
            ['distill.roi_logits.type', 'KdLoss', 'KDLoss', 'BTKDLoss'],
        ),
        (
            dict(distill=dict(roi_logits=dict(KD, temprature=2))),
            ['distill.roi_logits', "'temprature'", 'temperature', 'loss_weight'],
        ),
        (
            dict(distill=dict(roi_logits=dict(KD, temperature=-1))),
            ['distill.roi_logits', 'temperature', '-1'],
        ),
        (
            dict(
                distill=dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=dict(KD, temprature=2)))
            ),
            ['distill.roi_logits.loss', "'temprature'", 'temperature'],
        ),
        (dict(distill=dict(roi_logits='KDLoss')), ['distill.roi_logits', "'KDLoss'", 'dict(']),
        (dict(teacher=None), ['teacher', 'missing', 'roi_logits']),
        (dict(teacher=dict(checkpoint='x.pth')), ['teacher', "'config'"]),
        (
            dict(teacher=dict(config='nowhere.py', checkpoint='x.pth')),
            ['teacher.config', 'nowhere.py'],
        ),
    ],
)
def test_wrong_config_is_one_error_that_names_what_is_valid(
    student_config, teacher_config, teacher_checkpoint, change, words
):
    good = distilled(student_config, teacher_config, teacher_checkpoint, dict(roi_logits=KD))
    with pytest.raises(ConfigError) as caught:
        build_detector({**good, **change})
    for word in words:
        assert word in str(caught.value)


def test_class_counts_of_teacher_and_student_have_to_agree(student_config, tmp_path):
    teacher = tiny_faster_rcnn(num_classes=5)
    path = tmp_path / 'five.pth'
    torch.save(build_detector(teacher).state_dict(), path)
    with pytest.raises(ConfigError, match=r'teacher.*5 classes.*student 3.*--distill feature'):
        build_detector(distilled(student_config, teacher, str(path), dict(roi_logits=KD)))


def test_the_distilled_class_is_the_hosts_own():
    from mmdet.models.detectors import TwoStageDetector

    assert issubclass(DistilledTwoStageDetector, TwoStageDetector)
