"""The site at mask heads: the pixels of the RoIs that show an object."""

import copy

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.sites.base import Step
from btkd_det.sites.mask_heads import MaskRecorder, own_masks
from tests.conftest import build_detector, tiny_faster_rcnn
from tests.models.test_sites import batch_with_masks, tiny_cascade, tiny_mask_rcnn
from tests.models.test_two_stage import distilled

BINARY = dict(type='btkd_det.BinaryKDLoss')
BTKD = dict(type='btkd_det.BTKDLoss', loss=BINARY, schedule='none')

pytestmark = pytest.mark.usefixtures('progress')


def tiny_cascade_mask_rcnn():
    model, mask = tiny_cascade(), tiny_mask_rcnn()
    model.roi_head.mask_roi_extractor = mask.roi_head.mask_roi_extractor
    model.roi_head.mask_head = [copy.deepcopy(mask.roi_head.mask_head) for _ in range(3)]
    for stage in model.train_cfg.rcnn:
        stage.mask_size = 28
    model.test_cfg.rcnn.mask_thr_binary = 0.5
    return model


def build(student, teacher, sites, folder, **keys):
    torch.save(build_detector(teacher, seed=5).state_dict(), folder / 'teacher.pth')
    config = distilled(student, teacher, str(folder / 'teacher.pth'), sites)
    config['teacher'].update(keys)
    return build_detector(config).train()


def losses_of(model):
    data = model.train().data_preprocessor(batch_with_masks(), training=True)
    torch.manual_seed(3)
    return model(**data, mode='loss')


def recorded(model):
    data = model.data_preprocessor(batch_with_masks(), training=True)
    torch.manual_seed(3)
    with MaskRecorder(model) as recorder, torch.no_grad():
        model.host_loss(data['inputs'], data['data_samples'])
        recorder.finish(data['data_samples'])
        step = Step(model.teacher, data['inputs'], data['data_samples'])
        step.features = model.teacher.features(step.inputs, step.samples)
        found = [(part, recorder.teacher_outputs(part, step)) for part in recorder.records]
    assert 'loss_and_target' not in vars(recorder._heads[0])
    return found


@pytest.mark.parametrize('make', [tiny_mask_rcnn, tiny_cascade_mask_rcnn])
def test_a_step_adds_to_the_plain_losses(make, tmp_path):
    sites = dict(roi_masks=[BINARY, BTKD], roi_logits=dict(type='btkd_det.KDLoss'))
    model = build(make(), make(), sites, tmp_path)
    losses = losses_of(model)
    plain = losses_of(build_detector(make()))
    assert all(torch.equal(losses[key], plain[key]) for key in plain if 'loss_rpn' not in key)
    stages = [''] if make is tiny_mask_rcnn else ['s0.', 's1.', 's2.']
    for stage in stages:
        assert losses[f'distill.roi_masks.{stage}loss_binary_kd'] > 0
        assert losses[f'distill.roi_masks.{stage}loss_btkd'] > 0
        assert 0 < losses[f'distill.roi_masks.{stage}right'] < 1
    model.parse_losses(losses)[0].backward()
    heads = model.roi_head.mask_head
    head = heads if make is tiny_mask_rcnn else heads[0]
    assert head.conv_logits.weight.grad.abs().sum() > 0


def test_off_is_the_plain_detector(tmp_path):
    off, plain = build(tiny_mask_rcnn(), tiny_mask_rcnn(), {}, tmp_path), None
    plain = build_detector(tiny_mask_rcnn())
    found, expected = losses_of(off), losses_of(plain)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        for ours, its in zip(
            *(v if isinstance(v, list) else [v] for v in (found[key], value)), strict=True
        ):
            assert torch.equal(ours, its)


def test_rows_are_pixels_of_the_assigned_class(tmp_path):
    model = build(tiny_mask_rcnn(), tiny_mask_rcnn(), dict(roi_masks=BINARY), tmp_path)
    ((record, outputs),) = recorded(model)
    count = len(record.rois)
    assert count >= 4
    assert record.logits.shape == (count, 3, 28, 28)
    assert outputs.logits.shape == record.targets.shape == (count, 28, 28)
    ours, its, labels = model.distill['roi_masks'].inputs(record, outputs)
    assert ours.shape == its.shape == (count * 784, 2)
    pixels = ours.view(count, 28, 28, 2)
    for i, label in enumerate(record.labels):
        assert torch.equal(pixels[i, :, :, 0], record.logits[i, label])
    assert torch.equal(pixels[..., 1], -pixels[..., 0])
    # The RoI of the ground truth's own box is full of its object.
    shown = labels.view(count, -1).eq(0).float().mean(dim=1)
    assert shown.max() > 0.95
    # The student's own loss of these logits.
    costs = torch.nn.functional.binary_cross_entropy_with_logits(ours[:, 0], 1.0 - labels)
    expected = losses_of(model)['loss_mask']
    assert costs.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_student_that_is_its_teacher_learns_nothing_where_it_is_right(tmp_path):
    sites = dict(roi_masks=[BINARY, BTKD, dict(BTKD, rectify='drop')])
    model = build(tiny_mask_rcnn(), tiny_mask_rcnn(), sites, tmp_path)
    model.load_state_dict(model.teacher.model.state_dict(), strict=False)
    losses = losses_of(model)
    assert losses['distill.roi_masks.loss_binary_kd'].abs() < 1e-6
    assert losses['distill.roi_masks.loss_btkd2'].abs() < 1e-6
    assert losses['distill.roi_masks.right'] < 1
    assert losses['distill.roi_masks.loss_btkd'] > 1e-4


def test_a_teacher_of_more_classes_and_without_a_cascade(tmp_path):
    teacher = tiny_mask_rcnn()
    for head in (teacher.roi_head.bbox_head, teacher.roi_head.mask_head):
        head.num_classes = 5
    student = tiny_cascade_mask_rcnn()
    model = build(student, teacher, dict(roi_masks=BINARY), tmp_path, class_map=[4, 1, 0])
    seen = []
    head = model.teacher.model.roi_head.mask_head
    head.register_forward_hook(lambda module, args, out: seen.append(out))
    for (record, outputs), logits in zip(recorded(model), seen, strict=True):
        mapped = torch.tensor([4, 1, 0])[record.labels]
        assert torch.equal(outputs.logits, own_masks(logits, mapped, head))
    assert [record.stage for record, _ in recorded(model)] == [0, 1, 2]


def test_a_head_that_knows_no_classes(tmp_path):
    config = tiny_mask_rcnn()
    config.roi_head.mask_head.class_agnostic = True
    model = build(config, tiny_mask_rcnn(), dict(roi_masks=BINARY), tmp_path)
    ((record, outputs),) = recorded(model)
    assert record.logits.shape[1] == 1
    ours, _, _ = model.distill['roi_masks'].inputs(record, outputs)
    assert torch.equal(ours[:, 0], record.logits.reshape(-1))


def other_size():
    config = tiny_mask_rcnn()
    config.roi_head.mask_roi_extractor.roi_layer.output_size = 7
    return config


@pytest.mark.parametrize(
    ('student', 'teacher', 'losses', 'words'),
    [
        (tiny_faster_rcnn, tiny_mask_rcnn, BINARY, 'model: the site roi_masks .* has no mask head'),
        (tiny_mask_rcnn, tiny_faster_rcnn, BINARY, 'teacher.config: .* has no mask head; valid'),
        (tiny_mask_rcnn, other_size, BINARY, r'RoI are of \(14, 14\) and the student.s of \(28'),
        (
            tiny_mask_rcnn,
            tiny_mask_rcnn,
            dict(BTKD, judge='class_and_box'),
            "roi_masks.judge: 'class_and_box'.*pixels of masks",
        ),
        (
            tiny_mask_rcnn,
            tiny_mask_rcnn,
            [BINARY, dict(type='btkd_det.IKDLoss', num_classes=4)],
            r'roi_masks\[1\].num_classes: got 4; valid: 2',
        ),
    ],
)
def test_refused_with_the_reason(student, teacher, losses, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        build(student(), teacher(), dict(roi_masks=losses), tmp_path)


def test_masks_of_its_own_way_are_refused(tmp_path, monkeypatch):
    from mmdet.models.roi_heads import StandardRoIHead

    class OwnRoIHead(StandardRoIHead):
        def _mask_forward(self, *args, **kwargs):
            return super()._mask_forward(*args, **kwargs)

    config = tiny_mask_rcnn()
    config.roi_head.type = OwnRoIHead
    with pytest.raises(ConfigError, match='makes its masks in a way of its own'):
        build(config, tiny_mask_rcnn(), dict(roi_masks=BINARY), tmp_path)
