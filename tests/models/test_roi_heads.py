"""RoI heads of other kinds: each distills, or says that it cannot."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmdet.models.roi_heads import HybridTaskCascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict

from btkd_det.errors import ConfigError
from btkd_det.report.rows import walk
from btkd_det.sites.rois import RoIRecorder, run_roi_head
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.models.test_two_stage import distilled, one_step

SITES = dict(
    roi_logits=dict(type='btkd_det.KDLoss'),
    roi_features=dict(type='btkd_det.FitNetLoss'),
    roi_boxes=dict(type='btkd_det.BoxLoss'),
)
PLAIN_FPN = dict(fpn=dict(type='btkd_det.FitNetLoss'))
JUDGED_FPN = dict(fpn=dict(type='btkd_det.FitNetLoss', gate='teacher_right'))


def with_roi_head(**keys):
    model = tiny_faster_rcnn()
    model.roi_head.update(keys)
    return model


def with_box_head(**keys):
    model = tiny_faster_rcnn()
    model.roi_head.bbox_head.update(keys)
    return model


def with_pisa():
    model = with_roi_head(type='PISARoIHead')
    model.train_cfg.rcnn.sampler = ConfigDict(
        type='ScoreHLRSampler', num=32, pos_fraction=0.25, k=0.5, bias=0.0
    )
    model.train_cfg.rcnn.update(isr=dict(k=2, bias=0), carl=dict(k=1, bias=0.2))
    return model


def guest(config, path):
    torch.save(build_detector(config, seed=5).state_dict(), path)
    return str(path)


def build(student, teacher, sites, tmp_path):
    return build_detector(
        distilled(student, teacher, guest(teacher, tmp_path / 'teacher.pth'), sites)
    )


@pytest.mark.parametrize('site', SITES)
def test_a_head_without_an_answer_for_each_roi_is_refused_when_the_model_is_built(site, tmp_path):
    config = with_roi_head(
        type='MultiInstanceRoIHead', bbox_head=dict(type='MultiInstanceBBoxHead', num_shared_fcs=2)
    )
    with pytest.raises(ConfigError, match=rf'config.*{site}.*MultiInst.*StandardRoIHead.*fpn'):
        build(tiny_faster_rcnn(), config, {site: SITES[site]}, tmp_path)


def test_pisa_s_rows_are_those_that_its_box_head_learns_from(tmp_path, progress):
    model = build(with_pisa(), with_pisa(), SITES, tmp_path).train()
    head, seen = model.roi_head.bbox_head, []
    head.loss_cls.register_forward_pre_hook(lambda module, args: seen.append(args))
    data = model.data_preprocessor(detection_batch(), training=True)
    with RoIRecorder(model) as recorder:
        torch.manual_seed(1)
        model.host_loss(data['inputs'], data['data_samples'])
        recorder.finish(data['data_samples'])
    (record,) = recorder.records
    logits, labels, weights = seen[-1]
    assert torch.equal(record.logits, logits)
    assert torch.equal(record.labels, labels)
    # Its own loss weighs them; here each counts as one.
    assert len(weights.unique()) > 1
    assert record.foreground.any()
    assert len(record.rois) == len(record.features) == len(record.box_targets) == len(labels)
    assert 'loss' not in vars(head)


@pytest.mark.parametrize('sites', [PLAIN_FPN, JUDGED_FPN])
def test_its_maps_still_learn(sites, tmp_path, progress):
    config = with_pisa()
    _, log, _ = one_step(build(config, config, sites, tmp_path))
    assert log['distill.fpn.loss_fit_net'] > 0


def test_it_can_teach(tmp_path, progress):
    config = with_pisa()
    _, log, _ = one_step(build(tiny_faster_rcnn(), config, SITES, tmp_path))
    assert all(
        log[f'distill.{site}.loss_{loss}'] > 0
        for site, loss in (('roi_logits', 'kd'), ('roi_features', 'fit_net'))
    )


def test_each_branch_of_tridentnet_asks_the_teacher_for_its_image(teacher_config):
    teacher = build_detector(teacher_config).eval()
    step = SimpleNamespace(
        teacher=SimpleNamespace(model=teacher, class_map=None),
        features=teacher.extract_feat(torch.rand(2, 3, 64, 64)),
    )
    image = torch.arange(6.0)
    boxes = torch.tensor([[4.0, 4, 40, 40]]).expand(6, 4)
    rois = torch.cat([image[:, None], boxes], dim=1)
    student = SimpleNamespace(roi_head=SimpleNamespace(num_branch=3))
    record = SimpleNamespace(rois=rois, stage=None, stages=1)
    found = RoIRecorder(student).teacher_outputs(record, step).logits
    (expected, _) = run_roi_head(teacher.roi_head, step.features, rois[:2])
    assert not torch.allclose(*expected['cls_score'])
    torch.testing.assert_close(found, expected['cls_score'].repeat(3, 1))
    assert rois[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('side', [40.0, 200.0, 330.0, 600.0])
def test_in_half_precision_a_roi_is_read_where_its_size_says(teacher_config, dtype, side):
    roi_head = build_detector(teacher_config).eval().roi_head
    generator = torch.Generator().manual_seed(0)
    sizes = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    maps = [torch.randn(1, 24, *size, generator=generator).to(dtype).float() for size in sizes]
    corners = torch.rand(32, 2, generator=generator) * 100 + 517.3
    rois = torch.cat([torch.zeros(32, 1), corners, corners + side], dim=1)
    expected, _ = run_roi_head(roi_head, maps, rois)
    with torch.autocast('cpu', dtype):
        found, _ = run_roi_head(roi_head, [part.to(dtype) for part in maps], rois)
    torch.testing.assert_close(found['bbox_feats'].float(), expected['bbox_feats'])
    error = (found['cls_score'].float() - expected['cls_score']).norm()
    assert error < 0.02 * expected['cls_score'].norm()


def test_nothing_is_noted_where_no_site_is_at_the_rois(tmp_path, progress):
    model = build(tiny_faster_rcnn(), tiny_faster_rcnn(), PLAIN_FPN, tmp_path)
    noted = []
    head = model.roi_head.bbox_head
    head.register_forward_hook(lambda *args: noted.append('loss_and_target' in vars(head)))
    one_step(model)
    assert noted == [False]


class QuietRoIHead(StandardRoIHead):
    """A user's RoI head that computes its loss in its own way."""

    def bbox_loss(self, x, sampling_results):
        rois = bbox2roi([result.priors for result in sampling_results])
        said = self._bbox_forward(x, rois)
        targets = self.bbox_head.get_targets(sampling_results, self.train_cfg)
        labels, label_weights, box_targets, box_weights = targets
        loss = self.bbox_head.loss(
            said['cls_score'],
            said['bbox_pred'],
            rois,
            labels=labels,
            label_weights=label_weights,
            bbox_targets=box_targets,
            bbox_weights=box_weights,
        )
        return dict(said, loss_bbox=loss)


@pytest.fixture
def quiet():
    MMDET_MODELS.register_module(module=QuietRoIHead, force=True)
    yield with_roi_head(type='QuietRoIHead')
    MMDET_MODELS.module_dict.pop('QuietRoIHead')


@pytest.mark.parametrize('site', SITES)
def test_an_unknown_head_that_shows_nothing_is_refused_at_the_first_step(
    quiet, site, tmp_path, progress
):
    model = build(quiet, quiet, {site: SITES[site]}, tmp_path)
    with pytest.raises(ConfigError, match=r'QuietRoIHead.*loss_and_target.*fpn'):
        one_step(model)


def test_and_its_rows_are_not_passed_over(quiet):
    with pytest.raises(ConfigError, match=r'QuietRoIHead.*loss_and_target'):
        list(walk(build_detector(quiet), [copy.deepcopy(detection_batch())]))


def test_an_unknown_head_learns_at_its_maps(quiet, tmp_path, progress):
    _, log, _ = one_step(build(quiet, quiet, JUDGED_FPN, tmp_path))
    assert log['distill.fpn.loss_fit_net'] > 0


@pytest.mark.parametrize('kind', ['DoubleHeadRoIHead', 'DynamicRoIHead', 'PISARoIHead'])
def test_others_of_one_stage_are_their_own_teachers_without_a_loss(kind, tmp_path, progress):
    config = with_pisa() if kind == 'PISARoIHead' else with_roi_head(type=kind)
    config.backbone.norm_eval = True
    if kind == 'DoubleHeadRoIHead':
        config.roi_head.reg_roi_scale_factor = 1.3
        config.roi_head.bbox_head = ConfigDict(
            type='DoubleConvFCBBoxHead', num_convs=1, num_fcs=1, in_channels=16, num_classes=3,
            conv_out_channels=16, fc_out_channels=32, roi_feat_size=7,
            bbox_coder=config.roi_head.bbox_head.bbox_coder,
        )  # fmt: skip
    elif kind == 'DynamicRoIHead':
        config.roi_head.bbox_head.loss_bbox = dict(type='SmoothL1Loss', beta=1.0)
        config.train_cfg.rcnn.dynamic_rcnn = dict(
            iou_topk=75, beta_topk=10, update_iter_interval=100, initial_iou=0.4, initial_beta=1.0
        )
    boxes = dict(SITES['roi_boxes'], iou_threshold=0.0)
    model = build(config, config, dict(SITES, roi_boxes=boxes), tmp_path)
    model.load_state_dict(model.teacher.model.state_dict(), strict=False)
    _, log, _ = one_step(model)
    assert log['distill.roi_logits.loss_kd'].item() == pytest.approx(0, abs=1e-6)
    assert log['distill.roi_features.loss_fit_net'].item() == pytest.approx(0, abs=1e-6)
    # The branch for boxes of a double head normalizes, in training by the batch.
    close = 1e-3 if kind == 'DoubleHeadRoIHead' else 1e-6
    assert log['distill.roi_boxes.loss_box'].item() == pytest.approx(0, abs=close)


def test_htc_answers_with_its_semantic_features():
    extractor = lambda size: dict(
        type='SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=size, sampling_ratio=0),
        out_channels=4,
        featmap_strides=[4, 8],
    )
    head = dict(
        type='Shared2FCBBoxHead', in_channels=4, fc_out_channels=8, roi_feat_size=7, num_classes=3
    )
    torch.manual_seed(0)
    roi_head = HybridTaskCascadeRoIHead(
        num_stages=2,
        stage_loss_weights=[1, 0.5],
        bbox_roi_extractor=extractor(7),
        bbox_head=[head, head],
        semantic_roi_extractor=dict(extractor(14), featmap_strides=[8]),
        semantic_head=dict(
            type='FusedSemanticHead',
            num_ins=2,
            fusion_level=1,
            num_convs=1,
            in_channels=4,
            conv_out_channels=4,
            num_classes=3,
        ),
    )
    maps = [torch.rand(1, 4, 16, 16), torch.rand(1, 4, 8, 8)]
    rois = torch.tensor([[0.0, 4, 4, 40, 40], [0, 8, 0, 30, 60]])
    said, _ = run_roi_head(roi_head, maps, rois, stage=1, stages=2)
    semantic = roi_head.semantic_head(maps)[1]
    expected = roi_head._bbox_forward(1, maps, rois, semantic_feat=semantic)
    torch.testing.assert_close(said['cls_score'], expected['cls_score'])
    own = roi_head.bbox_roi_extractor[1](maps, rois)
    added = torch.nn.functional.adaptive_avg_pool2d(
        roi_head.semantic_roi_extractor([semantic], rois), 7
    )
    torch.testing.assert_close(said['bbox_feats'], own + added)


SEESAW = dict(loss_cls=dict(type='SeesawLoss', num_classes=3))


@pytest.mark.parametrize(
    ('student', 'teacher', 'sites', 'words'),
    [
        (SEESAW, {}, ['roi_logits'], 'distill.roi_logits: the student learned by SeesawLoss'),
        ({}, SEESAW, ['roi_logits'], 'distill.roi_logits: the teacher learned by SeesawLoss'),
        ({}, SEESAW, JUDGED_FPN, r'distill.fpn.gate: the teacher learned by SeesawLoss'),
        (
            {},
            SEESAW,
            dict(roi_features=dict(type='btkd_det.FitNetLoss', gate='teacher_right')),
            r'distill.roi_features.gate: the teacher learned by SeesawLoss',
        ),
        (dict(with_reg=False), {}, ['roi_boxes'], "distill.roi_boxes.*student's .*with_reg"),
        ({}, dict(with_reg=False), ['roi_boxes'], "distill.roi_boxes.*teacher's .*with_reg"),
        (
            dict(with_reg=False),
            {},
            dict(
                roi_logits=dict(
                    type='btkd_det.BTKDLoss',
                    judge='class_and_box',
                    loss=dict(type='btkd_det.KDLoss'),
                )
            ),
            "distill.roi_logits.judge.*student's .*no box deltas",
        ),
    ],
)
def test_box_heads_that_say_something_else_are_refused(student, teacher, sites, words, tmp_path):
    if isinstance(sites, list):
        sites = {site: SITES[site] for site in sites}
    with pytest.raises(ConfigError, match=words):
        build(with_box_head(**student), with_box_head(**teacher), sites, tmp_path)


def test_a_seesaw_teacher_shows_its_features_and_boxes(tmp_path, progress):
    sites = dict(roi_features=SITES['roi_features'], roi_boxes=SITES['roi_boxes'])
    _, log, _ = one_step(build(with_box_head(**SEESAW), with_box_head(**SEESAW), sites, tmp_path))
    assert log['distill.roi_features.loss_fit_net'] > 0


def test_rows_of_a_seesaw_head_are_refused():
    model = build_detector(with_box_head(**SEESAW))
    with pytest.raises(ConfigError, match=r'CONFIG.model.*SeesawLoss'):
        list(walk(model, [copy.deepcopy(detection_batch())]))
