"""Single-stage detectors and all others: one step and one prediction each, with every site."""

import pytest
import torch

from btkd_det.bias import is_right
from btkd_det.errors import ConfigError
from btkd_det.losses.divergences import binary_kl
from btkd_det.sites.dense_logits import with_background
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.single_stage import CONFIGS, distilled, predict, save, step, tiny, tiny_detr

BINARY = dict(type='btkd_det.BinaryKDLoss')
PKD = dict(type='btkd_det.PKDLoss')


pytestmark = pytest.mark.usefixtures('progress')


@pytest.mark.parametrize('name', list(CONFIGS))
def test_a_step_and_a_prediction_with_every_site(name, tmp_path):
    config = tiny(name)
    save(config, tmp_path / 'teacher.pth')
    sites = dict(dense_logits=[BINARY, dict(type='btkd_det.BTKDLoss', loss=BINARY)], fpn=PKD)
    if name == 'GFL':
        sites['dense_boxes'] = dict(type='btkd_det.DistributionLoss')
    plain = build_detector(config)
    model = build_detector(distilled(config, config, tmp_path / 'teacher.pth', sites))
    log_plain, log = step(plain), step(model)
    assert all(torch.equal(log_plain[k], log[k]) for k in log_plain if k != 'loss')
    added = {k: v for k, v in log.items() if k.startswith('distill.') and 'loss' in k}
    assert len(added) == 3 + (name == 'GFL')
    assert all(torch.isfinite(v) and v > 0 for v in added.values()), added
    torch.testing.assert_close(log['loss'], log_plain['loss'] + sum(added.values()))
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert list(model.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(model.state_dict())
    for ours, theirs in zip(predict(model), predict(plain), strict=True):
        assert torch.equal(ours.bboxes, theirs.bboxes)
        assert torch.equal(ours.scores, theirs.scores)


@pytest.mark.parametrize('name', list(CONFIGS))
def test_its_own_teacher_has_nothing_to_teach(name, tmp_path):
    config = tiny(name)
    if name != 'RTMDet':
        config.backbone.norm_eval = True
    twin = save(config, tmp_path / 'twin.pth')
    sites = dict(dense_logits=BINARY, fpn=PKD)
    model = build_detector(distilled(config, config, tmp_path / 'twin.pth', sites))
    model.load_state_dict(twin.state_dict())
    if name == 'RTMDet':  # its normalization is in the neck and the head too
        model.train = lambda mode=True: model
        model.eval()
        for module in model.modules():
            module.training = False
    log = step(model)
    for key, value in log.items():
        if key.startswith('distill.'):
            assert value.item() == pytest.approx(0, abs=1e-6), key


def test_rows_of_student_teacher_and_labels_belong_together(tmp_path):
    # The teacher's logits of FCOS are put where the student's are: then nothing is to learn,
    # and the label of an anchor inside a box is the box's.
    config = tiny('FCOS')
    save(config, tmp_path / 'teacher.pth')
    model = build_detector(distilled(config, config, tmp_path / 'teacher.pth', dict(fpn=PKD)))
    from btkd_det.sites.dense import DenseRecorder, rows

    data = model.data_preprocessor(detection_batch(), training=True)
    with DenseRecorder(model) as recorder:
        model.bbox_head.loss(model.extract_feat(data['inputs']), data['data_samples'])
    (record,) = recorder.records
    logits, labels = record.logits, record.labels
    assert torch.equal(logits, rows(record.outputs[0], 3))
    assert len(labels) == len(logits)
    wanted = torch.cat([s.gt_instances.labels for s in data['data_samples']])
    assert set(labels[labels < 3].tolist()) <= set(wanted.tolist())


def test_background_beside_sigmoids_is_a_label_like_others():
    logits = torch.tensor([[-3.0, -1.0], [2.0, -1.0]])
    rows = with_background(logits)
    assert torch.equal(rows, torch.tensor([[-3.0, -1.0, 1.0], [2.0, -1.0, -2.0]]))
    labels = torch.tensor([2, 2])
    assert is_right(rows, labels).tolist() == [True, False]
    from btkd_det.bias import rectify

    # Told that it is background, the second row's class becomes as unlikely as it was likely.
    assert torch.equal(rectify(rows, labels, 'swap')[1], torch.tensor([-2.0, -1.0, 2.0]))


def test_binary_kl_is_the_divergence_of_bernoullis():
    student, teacher = torch.randn(50, dtype=torch.double), torch.randn(50, dtype=torch.double)
    bernoulli = torch.distributions.Bernoulli
    expected = torch.distributions.kl_divergence(
        bernoulli(logits=teacher), bernoulli(logits=student)
    )
    torch.testing.assert_close(binary_kl(student, teacher), expected)
    extreme = binary_kl(torch.tensor([1e4, -1e4]), torch.tensor([-1e4, -1e4]))
    torch.testing.assert_close(extreme, torch.tensor([1e4, 0.0]))


def test_a_teacher_of_another_family_teaches_features(tmp_path):
    student, teacher = tiny('RTMDet'), tiny_faster_rcnn()
    save(teacher, tmp_path / 'teacher.pth')
    sites = dict(fpn=dict(PKD, levels=(0, 1, 2)))
    model = build_detector(distilled(student, teacher, tmp_path / 'teacher.pth', sites))
    log = step(model)
    assert log['distill.fpn.loss_pkd'] > 0
    for site in ('dense_logits',):
        with pytest.raises(ConfigError, match='has no dense head'):
            build_detector(distilled(student, teacher, tmp_path / 'teacher.pth', {site: BINARY}))


def test_heads_that_do_not_match_are_named(tmp_path):
    student, teacher = tiny('RetinaNet'), tiny('FCOS')
    save(teacher, tmp_path / 'teacher.pth')
    with pytest.raises(ConfigError, match=r'num_base_priors is 1 and the student.s 9'):
        build_detector(
            distilled(student, teacher, tmp_path / 'teacher.pth', dict(dense_logits=BINARY))
        )
    gate = dict(fpn=dict(PKD, gate='teacher_right'))
    with pytest.raises(ConfigError, match='no box head to judge with'):
        build_detector(distilled(student, student, _own(student, tmp_path), gate))
    sides = dict(dense_boxes=dict(type='btkd_det.DistributionLoss'))
    with pytest.raises(ConfigError, match='reg_max'):
        build_detector(distilled(student, student, _own(student, tmp_path), sides))


def _own(config, folder):
    save(config, folder / 'own.pth')
    return folder / 'own.pth'


def test_a_detr_learns_features_at_neck_and_backbone(tmp_path):
    config = tiny_detr()
    save(config, tmp_path / 'teacher.pth')
    sites = dict(fpn=PKD, backbone=dict(type='btkd_det.CWDLoss'))
    plain = build_detector(config)
    model = build_detector(
        distilled(
            config,
            config,
            tmp_path / 'teacher.pth',
            sites,
            type='btkd_det.DistilledDetector',
            host='DETR',
        )
    )
    assert isinstance(model, type(plain))
    log_plain, log = step(plain), step(model)
    added = {k for k in log if k not in log_plain}
    assert added == {'distill.fpn.loss_pkd', 'distill.backbone.loss_cwd'}
    assert all(log[k] > 0 for k in added)
    for ours, theirs in zip(predict(model), predict(plain), strict=True):
        assert torch.equal(ours.scores, theirs.scores)


def test_a_host_that_is_no_detector_is_named():
    with pytest.raises(ConfigError, match=r"host: missing.*'DINO'"):
        build_detector(dict(type='btkd_det.DistilledDetector', backbone=dict(type='ResNet')))
    with pytest.raises(ConfigError, match=r"host: 'ResNet'"):
        build_detector(dict(type='btkd_det.DistilledDetector', host='ResNet'))
