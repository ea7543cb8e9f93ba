"""Every site of two-stage detectors: values, geometry, cascades, masks, when knowledge stops."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from torch.nn import functional as F

from btkd_det.bias import is_right
from btkd_det.errors import ConfigError
from btkd_det.models.distilled import Sites
from btkd_det.sites import FPN
from btkd_det.sites.gate import Objects, map_gate
from btkd_det.sites.rois import box_heads
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.models.test_two_stage import distilled, one_step

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
PKD = dict(type='btkd_det.PKDLoss')
VALID = dict(fpn=FPN)
ALL = dict(
    roi_logits=KD,
    roi_features=dict(type='btkd_det.FitNetLoss'),
    roi_boxes=dict(type='btkd_det.BoxLoss'),
    fpn=[
        dict(type='btkd_det.PKDLoss'),
        dict(type='btkd_det.CWDLoss', levels=(0, 1)),
        dict(type='btkd_det.ReviewKDLoss', mid_channels=8),
        dict(type='btkd_det.FitNetLoss', gate='teacher_right'),
    ],
)


def tiny_cascade():
    from btkd_det.config.reading import read_config

    model = read_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'test').model
    small = tiny_faster_rcnn()
    for part in ('backbone', 'neck', 'rpn_head'):
        model[part] = copy.deepcopy(small[part])
    model.roi_head.bbox_roi_extractor.out_channels = 16
    for head in model.roi_head.bbox_head:
        head.update(in_channels=16, fc_out_channels=32, num_classes=3)
    for stage in model.train_cfg.rcnn:
        stage.sampler.num = 32
    return model


def tiny_mask_rcnn():
    model = tiny_faster_rcnn()
    from btkd_det.config.reading import read_config

    mask = read_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'test').model
    model.type = 'MaskRCNN'
    model.roi_head.mask_roi_extractor = mask.roi_head.mask_roi_extractor
    model.roi_head.mask_head = mask.roi_head.mask_head
    model.roi_head.mask_roi_extractor.out_channels = 16
    model.roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_classes=3)
    model.train_cfg.rcnn.mask_size = 28
    model.test_cfg.rcnn.mask_thr_binary = 0.5
    return model


def batch_with_masks():
    from mmdet.structures.mask import BitmapMasks

    batch = detection_batch()
    for sample in batch['data_samples']:
        height, width = sample.img_shape
        masks = torch.zeros(2, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, sample.gt_instances.bboxes.int(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances.masks = BitmapMasks(masks.numpy(), height, width)
    return batch


def entries(log, site):
    return {k: v for k, v in log.items() if k.startswith(f'distill.{site}.') and 'loss' in k}


def test_every_site_at_once(student_config, teacher_config, teacher_checkpoint, progress):
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, ALL))
    _, log, grads = one_step(model)
    counts = {site: len(entries(log, site)) for site in ALL}
    assert counts == dict(roi_logits=1, roi_features=1, roi_boxes=1, fpn=4)
    assert all(torch.isfinite(v) and v > 0 for site in ALL for v in entries(log, site).values())
    assert all(grads[name] is not None for name in grads), [n for n in grads if grads[n] is None]
    # 16 channels of the student against 24 of the teacher: adapters, saved under distill.
    learned = [k for k in model.state_dict() if k.startswith('distill.')]
    assert 'distill.fpn.0.adapters.0.weight' in learned
    assert 'distill.roi_features.0.adapters.0.weight' in learned


@pytest.mark.parametrize('make', [tiny_cascade, tiny_mask_rcnn])
def test_cascade_and_mask_rcnn(make, tmp_path, progress):
    config = make()
    path = tmp_path / 'teacher.pth'
    torch.save(build_detector(config, seed=5).state_dict(), path)
    model = build_detector(distilled(config, config, str(path), ALL))
    plain = build_detector(config)
    batch = batch_with_masks()
    logs = []
    for detector in (plain, model):
        detector.train()
        data = detector.data_preprocessor(copy.deepcopy(batch), training=True)
        torch.manual_seed(3)
        logs.append(detector.parse_losses(detector(**data, mode='loss'))[1])
    assert all(torch.equal(logs[0][k], logs[1][k]) for k in logs[0] if k != 'loss')
    stages = 3 if make is tiny_cascade else 1
    assert len(entries(logs[1], 'roi_logits')) == stages
    assert len(entries(logs[1], 'roi_boxes')) == stages
    if stages == 3:
        assert 'distill.roi_logits.s2.loss_kd' in logs[1]
    detector = model.eval()
    with torch.no_grad():
        found = detector.test_step(copy.deepcopy(batch))
        expected = _load(plain.eval(), model).test_step(copy.deepcopy(batch))
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)


def _load(plain, model):
    plain.load_state_dict(
        {k: v for k, v in model.state_dict().items() if not k.startswith('distill.')}
    )
    return plain


def test_a_cascade_may_learn_at_its_last_stage_alone(tmp_path, progress):
    config = tiny_cascade()
    sites = dict(roi_logits=dict(losses=KD, stages='last'))
    path = tmp_path / 'teacher.pth'
    torch.save(build_detector(config, seed=5).state_dict(), path)
    model = build_detector(distilled(config, config, str(path), sites))
    _, log, _ = one_step(model)
    assert list(entries(log, 'roi_logits')) == ['distill.roi_logits.s2.loss_kd']


def test_a_cascade_teaches_a_plain_head_by_the_mean_of_its_stages(tmp_path, progress):
    cascade, student = tiny_cascade(), tiny_faster_rcnn()
    path = tmp_path / 'teacher.pth'
    torch.save(build_detector(cascade, seed=5).state_dict(), path)
    model = build_detector(distilled(student, cascade, str(path), dict(roi_logits=KD)))
    said, student_logits = [], []
    for head in model.teacher.model.roi_head.bbox_head:
        head.register_forward_hook(lambda module, args, result: said.append(result[0]))
    model.roi_head.bbox_head.register_forward_hook(
        lambda module, args, result: student_logits.append(result[0])
    )
    losses, _, _ = one_step(model)
    expected = F.kl_div(
        student_logits[0].log_softmax(1),
        torch.stack(said).mean(0).softmax(1),
        reduction='batchmean',
    )
    torch.testing.assert_close(losses['distill.roi_logits.loss_kd'], expected)


def same_weights(tmp_path, sites):
    """A student that is its own teacher, in eval mode of the normalization."""
    config = tiny_faster_rcnn()
    config.backbone.norm_eval = True
    path = tmp_path / 'self.pth'
    twin = build_detector(config, seed=11)
    # A head of some conviction, so that it is right on some RoIs and wrong on others.
    torch.manual_seed(0)
    torch.nn.init.normal_(twin.roi_head.bbox_head.fc_cls.weight, std=1.0)
    torch.save(twin.state_dict(), path)
    model = build_detector(distilled(config, config, str(path), sites))
    model.load_state_dict(twin.state_dict(), strict=False)
    return model


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tmp_path, progress):
    sites = dict(
        roi_logits=[KD, dict(type='btkd_det.DKDLoss')],
        roi_features=dict(type='btkd_det.FitNetLoss'),
        fpn=[dict(type='btkd_det.PKDLoss'), dict(type='btkd_det.CWDLoss')],
    )
    _, log, _ = one_step(same_weights(tmp_path, sites))
    for site in sites:
        for name, value in entries(log, site).items():
            assert value.item() == pytest.approx(0, abs=1e-5), name


def test_btkd_asks_of_it_only_what_the_teacher_gets_wrong(tmp_path, progress):
    sites = dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=KD, schedule='none'))
    model = same_weights(tmp_path, sites)
    calls = []
    loss = model.distill['roi_logits'][0]
    original = loss.per_row

    def per_row(student, teacher, labels, **extra):
        rows = original(student, teacher, labels, **extra)
        calls.append((rows.detach(), is_right(teacher, labels)))
        return rows

    loss.per_row = per_row
    one_step(model)
    rows, right = calls[0]
    assert right.any()
    assert not right.all()
    assert rows[right].abs().max() < 1e-5
    assert rows[~right].min() > 1e-3


def of_conviction(model):
    """Box heads that say something else of every class, and in every stage of a cascade."""
    torch.manual_seed(0)
    for head in box_heads(model.roi_head):
        torch.nn.init.normal_(head.fc_cls.weight, std=1.0)
        torch.nn.init.normal_(head.fc_reg.weight, std=0.1)
        torch.nn.init.normal_(head.fc_reg.bias, std=0.1)
    return model.state_dict()


def test_a_cascade_that_is_its_own_teacher_agrees_at_every_stage(tmp_path, progress):
    config = tiny_cascade()
    config.backbone.norm_eval = True
    path = tmp_path / 'self.pth'
    state = of_conviction(build_detector(config, seed=11))
    torch.save(state, path)
    sites = dict(roi_logits=KD, roi_boxes=dict(type='btkd_det.BoxLoss', iou_threshold=0.0))
    model = build_detector(distilled(config, config, str(path), sites))
    model.load_state_dict(state, strict=False)
    _, log, _ = one_step(model)
    for stage in range(3):
        for site, loss in (('roi_logits', 'loss_kd'), ('roi_boxes', 'loss_box')):
            assert log[f'distill.{site}.s{stage}.{loss}'].item() == pytest.approx(0, abs=1e-5)


def test_a_teacher_of_permuted_classes_says_the_same_of_each(tmp_path, progress):
    config = tiny_faster_rcnn()
    config.backbone.norm_eval = True
    class_map = [2, 0, 1]
    own = of_conviction(build_detector(config, seed=11))
    taught = dict(own)
    for part in ('weight', 'bias'):
        scores, boxes = (f'roi_head.bbox_head.{layer}.{part}' for layer in ('fc_cls', 'fc_reg'))
        taught[scores], taught[boxes] = own[scores].clone(), own[boxes].clone()
        for mine, other in enumerate(class_map):
            taught[scores][other] = own[scores][mine]
            taught[boxes][4 * other : 4 * other + 4] = own[boxes][4 * mine : 4 * mine + 4]
    path = tmp_path / 'permuted.pth'
    torch.save(taught, path)
    sites = dict(roi_logits=KD, roi_boxes=dict(type='btkd_det.BoxLoss', iou_threshold=0.0))
    model = distilled(config, config, str(path), sites)
    model['teacher'].update(class_map=class_map)
    model = build_detector(model)
    model.load_state_dict(own, strict=False)
    _, log, _ = one_step(model)
    assert log['distill.roi_logits.loss_kd'].item() == pytest.approx(0, abs=1e-5)
    assert log['distill.roi_boxes.loss_box'].item() == pytest.approx(0, abs=1e-6)


def test_boxes_of_the_teacher_are_decoded_by_its_own_coder(tmp_path, progress):
    student, teacher = tiny_faster_rcnn(), tiny_faster_rcnn()
    teacher.roi_head.bbox_head.bbox_coder.target_stds = [0.05, 0.05, 0.1, 0.1]
    path = tmp_path / 'teacher.pth'
    twin = build_detector(student, seed=11)
    state = twin.state_dict()
    for name in ('weight', 'bias'):
        state[f'roi_head.bbox_head.fc_reg.{name}'] = 2 * state[f'roi_head.bbox_head.fc_reg.{name}']
    torch.save(state, path)
    sites = dict(roi_boxes=dict(type='btkd_det.BoxLoss', iou_threshold=0.0))
    student.backbone.norm_eval = True
    model = build_detector(distilled(student, teacher, str(path), sites))
    model.load_state_dict(twin.state_dict(), strict=False)
    _, log, _ = one_step(model)
    assert log['distill.roi_boxes.loss_box'].item() == pytest.approx(0, abs=1e-6)
    assert log['distill.roi_boxes.right'].item() == 1


def test_the_gate_lies_where_the_boxes_are_in_a_padded_batch():
    # Two images padded to 64 x 128; a map of 8 x 16 has positions 8 pixels apart.
    objects = [
        Objects(
            torch.tensor([[16.0, 8, 48, 40], [64, 0, 96, 16]]),
            torch.tensor([True, False]),
            (64, 128),
        ),
        Objects(
            torch.tensor([[8.0, 8, 24, 24], [33, 33, 35, 35]]), torch.tensor([True, True]), (40, 80)
        ),
    ]
    (gate,) = map_gate(objects, [(8, 16)], (64, 128), 'teacher_right', background_weight=0.5)
    inside = torch.zeros(2, 8, 16, dtype=torch.bool)
    inside[0, 1:5, 2:6] = True
    inside[1, 1:3, 1:3] = True
    inside[1, 4, 4] = True  # holds no center but its own
    left_out = torch.zeros_like(inside)
    left_out[0, 0:2, 8:12] = True
    padding = torch.zeros_like(inside)
    padding[1, 5:] = True
    padding[1, :, 10:] = True
    background = ~inside & ~left_out & ~padding
    gate = gate[:, 0]
    torch.testing.assert_close(gate[inside], torch.full_like(gate[inside], 1 / inside.sum()))
    torch.testing.assert_close(
        gate[background], torch.full_like(gate[background], 0.5 / background.sum())
    )
    assert (gate[left_out | padding] == 0).all()
    (plain,) = map_gate(objects, [(8, 16)], (64, 128), 'foreground', background_weight=0.0)
    assert torch.equal(plain[:, 0] > 0, inside | left_out)


def test_the_gate_asks_the_teacher_at_the_ground_truth(
    student_config, teacher_config, teacher_checkpoint, progress
):
    sites = dict(fpn=dict(type='btkd_det.FitNetLoss', gate='teacher_right'))
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
    seen = []
    model.teacher.model.roi_head.bbox_roi_extractor.register_forward_hook(
        lambda module, args, result: seen.append(args[1])
    )
    one_step(model)
    boxes = [s.gt_instances.bboxes for s in detection_batch()['data_samples']]
    torch.testing.assert_close(seen[0][:, 1:], torch.cat(boxes))
    assert seen[0][:, 0].tolist() == [0, 0, 1, 1]


def test_the_gate_takes_the_objects_that_the_teacher_names_rightly(
    student_config, teacher_config, teacher_checkpoint, progress, monkeypatch
):
    sites = dict(fpn=dict(type='btkd_det.FitNetLoss', gate='teacher_right'))
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
    samples = detection_batch()['data_samples']
    labels = torch.cat([sample.gt_instances.labels for sample in samples])
    assert 0 < (labels == labels[0]).sum() < len(labels)
    with torch.no_grad():
        model.teacher.model.roi_head.bbox_head.fc_cls.bias[labels[0]] = 50
    seen = []

    def spy(objects, *args):
        seen.extend(objects)
        return map_gate(objects, *args)

    monkeypatch.setattr('btkd_det.sites.maps.map_gate', spy)
    one_step(model)
    assert torch.equal(torch.cat([image.right for image in seen]), labels == labels[0])


def test_rois_weigh_as_in_the_logits_curriculum(
    student_config, teacher_config, teacher_checkpoint, progress
):
    progress(0.5)
    sites = dict(roi_features=dict(type='btkd_det.FitNetLoss', gate='teacher_right'))
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
    seen = {}
    loss = model.distill['roi_features'][0]
    loss.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(gate=kwargs['gate'][0]), with_kwargs=True
    )
    said = []
    model.teacher.model.roi_head.bbox_head.register_forward_hook(
        lambda module, args, result: said.append(result[0])
    )
    labels = []
    model.roi_head.bbox_head.loss_cls.register_forward_pre_hook(
        lambda module, args: labels.append(args[1])
    )
    one_step(model)
    weights = seen['gate'].sum(dim=(1, 2, 3))
    right = is_right(said[0], labels[0])
    assert right.any()
    assert not right.all()
    torch.testing.assert_close(weights[right].sum(), torch.tensor(0.5))
    torch.testing.assert_close(
        weights[~right], torch.full_like(weights[~right], 0.5 / (~right).sum())
    )


def test_knowledge_stops_where_it_is_told_to(
    student_config, teacher_config, teacher_checkpoint, progress
):
    sites = dict(
        roi_logits=dict(losses=KD, stop_at=0.8),
        fpn=dict(losses=dict(type='btkd_det.PKDLoss'), stop_at=0.6),
    )
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
    looks = []
    model.teacher.model.backbone.register_forward_hook(lambda *args: looks.append(1))
    names = {}
    for share in (0.5, 0.7, 0.9):
        progress(share)
        looks.clear()
        _, log, grads = one_step(model)
        names[share] = {k.split('.')[-1] for k in log if k.startswith('distill.')}, len(looks)
        assert all(g is not None for g in grads.values())
    assert names[0.5] == ({'loss_kd', 'loss_pkd'}, 1)
    assert names[0.7] == ({'loss_kd', 'loss_silent'}, 1)
    assert names[0.9] == ({'loss_silent'}, 0)


@pytest.mark.parametrize(('share', 'silent'), [(0.79, False), (0.8, True)])
def test_a_site_is_silent_from_its_share_of_training_on(share, silent, progress):
    progress(share)
    assert Sites(dict(fpn=dict(losses=PKD, stop_at=0.8)), VALID)['fpn'].active is not silent


@pytest.mark.parametrize(
    ('sites', 'words'),
    [
        (dict(fpn=dict(losses=PKD, stages='last')), ['distill.fpn', "'stages'", 'stop_at']),
        (dict(fpn=dict(type='btkd_det.KDLoss')), ['distill.fpn.type', 'PKDLoss']),
        (dict(roi_logits=dict(type='btkd_det.PKDLoss')), ['valid for it here: roi_features, fpn;']),
        (dict(fpn=dict(type='btkd_det.PKDLoss', levels=(7,))), ['distill.fpn', 'level 7']),
        (
            dict(fpn=dict(type='btkd_det.PKDLoss', adapter=None)),
            ['distill.fpn', '(16, 32, 32)', '(24, 32, 32)'],
        ),
        (dict(fpn=dict(type='btkd_det.PKDLoss', gate='right')), ['teacher_right']),
        (dict(fpn=dict(losses=KD, stopat=0.5)), ['distill.fpn', "'stopat'", 'stop_at']),
        (
            dict(roi_logits=dict(losses=KD, stop_at=2)),
            ['distill.roi_logits', 'stop_at', '2', 'at most 1'],
        ),
    ],
)
def test_wrong_sites_are_named(student_config, teacher_config, teacher_checkpoint, sites, words):
    with pytest.raises(ConfigError) as caught:
        build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
    for word in words:
        assert word in str(caught.value)


def test_config_dicts_are_taken_as_mmengine_gives_them(
    student_config, teacher_config, teacher_checkpoint, progress
):
    sites = ConfigDict(roi_logits=dict(losses=[KD], stop_at=0.5))
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
    assert model.distill['roi_logits'].stop_at == 0.5
