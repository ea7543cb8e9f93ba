"""A student that starts with its teacher's weights: each class with those of the same class."""

import pytest
import torch
from mmdet.models.dense_heads import FCOSHead, RetinaHead, SSDHead
from mmdet.models.roi_heads import Shared2FCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmengine.logging import MMLogger
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.models.inheritance import inherit
from tests.conftest import build_detector, tiny_faster_rcnn
from tests.models.test_two_stage import distilled

REVERSED = [3, 2, 1, 0]
FCOS = dict(num_classes=4, in_channels=4, stacked_convs=1, feat_channels=4, norm_cfg=None)


def holder(**parts):
    """A model that is nothing but its parts, every weight of them a number of its own."""
    model = nn.Module()
    for name, part in parts.items():
        model.add_module(name, part)
    for i, value in enumerate(model.state_dict().values()):
        value.copy_(torch.arange(value.numel()).view(value.shape) + 1000.0 * i)
    return model


def blank(model):
    for value in model.state_dict().values():
        value.fill_(-1)
    return model


def box_head(num_classes=4, **kwargs):
    return Shared2FCBBoxHead(
        in_channels=4, fc_out_channels=8, roi_feat_size=1, num_classes=num_classes, **kwargs
    )


def ssd_head():
    anchors = dict(
        type='SSDAnchorGenerator',
        basesize_ratio_range=(0.15, 0.9),
        strides=[8, 16, 32, 64, 100, 300],
        ratios=[[2]] * 6,
    )
    return SSDHead(num_classes=4, in_channels=(4,) * 6, anchor_generator=anchors)


def started(student, teacher, class_map):
    """The student's and the teacher's weights after the student took what fits."""
    student = blank(student)
    inherit(student, teacher, class_map)
    return student.state_dict(), teacher.state_dict()


@pytest.mark.parametrize('part', ['weight', 'bias'])
def test_each_class_of_a_box_head_starts_as_the_same_class(part):
    ours, its = started(holder(bbox_head=box_head()), holder(bbox_head=box_head()), REVERSED)
    scores, boxes = f'bbox_head.fc_cls.{part}', f'bbox_head.fc_reg.{part}'
    for mine, other in enumerate((*REVERSED, 4)):
        assert torch.equal(ours[scores][mine], its[scores][other])
    for mine, other in enumerate(REVERSED):
        assert torch.equal(ours[boxes].unflatten(0, (4, 4))[mine], its[boxes][4 * other :][:4])
    hidden = f'bbox_head.shared_fcs.1.{part}'
    assert torch.equal(ours[hidden], its[hidden])


def test_a_student_of_fewer_classes_takes_theirs():
    ours, its = started(holder(bbox_head=box_head(2)), holder(bbox_head=box_head(5)), [4, 1])
    assert torch.equal(ours['bbox_head.fc_cls.bias'], its['bbox_head.fc_cls.bias'][[4, 1, 5]])
    rows = [16, 17, 18, 19, 4, 5, 6, 7]
    assert torch.equal(ours['bbox_head.fc_reg.weight'], its['bbox_head.fc_reg.weight'][rows])


def test_boxes_and_masks_of_no_class_are_taken_as_they_are():
    parts = lambda: holder(
        bbox_head=box_head(reg_class_agnostic=True),
        mask_head=FCNMaskHead(1, 4, conv_out_channels=4, num_classes=4, class_agnostic=True),
    )
    ours, its = started(parts(), parts(), REVERSED)
    for name in ('bbox_head.fc_reg.weight', 'mask_head.conv_logits.weight'):
        assert torch.equal(ours[name], its[name])


def test_each_class_of_a_mask_head_starts_as_the_same_class():
    head = lambda: FCNMaskHead(num_convs=1, in_channels=4, conv_out_channels=4, num_classes=4)
    ours, its = started(holder(mask_head=head()), holder(mask_head=head()), REVERSED)
    logits = 'mask_head.conv_logits.weight'
    assert torch.equal(ours[logits], its[logits][REVERSED])
    assert torch.equal(ours['mask_head.upsample.weight'], its['mask_head.upsample.weight'])


def test_each_class_of_every_anchor_starts_as_the_same_class():
    head = lambda: RetinaHead(num_classes=4, in_channels=4, stacked_convs=1, feat_channels=4)
    ours, its = started(holder(bbox_head=head()), holder(bbox_head=head()), REVERSED)
    anchors = its['bbox_head.retina_cls.weight'].unflatten(0, (9, 4))
    got = ours['bbox_head.retina_cls.weight'].unflatten(0, (9, 4))
    assert torch.equal(got, anchors[:, REVERSED])
    for name in ('bbox_head.retina_reg.weight', 'bbox_head.cls_convs.0.conv.weight'):
        assert torch.equal(ours[name], its[name])


def test_each_class_of_a_classifier_starts_as_the_same_class():
    heads = pytest.importorskip('mmpretrain.models.heads')
    makes = {
        'fc': lambda: heads.LinearClsHead(num_classes=4, in_channels=3),
        'layers.head': lambda: heads.VisionTransformerClsHead(num_classes=4, in_channels=3),
    }
    for layer, make in makes.items():
        ours, its = started(holder(head=make()), holder(head=make()), REVERSED)
        assert torch.equal(ours[f'head.{layer}.weight'], its[f'head.{layer}.weight'][REVERSED])


class OwnHead(FCOSHead):
    """A user's head with a layer of its own."""

    def _init_layers(self):
        super()._init_layers()
        self.more_classes = nn.Conv2d(4, 4, 1)


class OwnLoss(FCOSHead):
    """A user's head that makes no layers."""


@pytest.fixture
def logged(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    'make',
    [
        lambda: OwnHead(**FCOS),
        lambda: ssd_head(),
        lambda: nn.Conv2d(4, 4, 1),
    ],
)
def test_what_is_not_known_keeps_its_own_weights_and_is_logged(make, logged):
    parts = lambda: holder(bbox_head=make(), neck=nn.Conv2d(2, 4, 1))
    ours, its = started(parts(), parts(), REVERSED)
    heads = [value for name, value in ours.items() if name.startswith('bbox_head.')]
    assert all((value == -1).all() for value in heads)
    assert torch.equal(ours['neck.weight'], its['neck.weight'])
    assert f'{len(heads)} weights do not fit (bbox_head.' in logged.text


def test_counts_of_a_loss_are_left_and_its_scores_where_they_lie_otherwise():
    seesaw = lambda: box_head(loss_cls=dict(type='SeesawLoss', num_classes=4))
    ours, its = started(holder(bbox_head=seesaw()), holder(bbox_head=seesaw()), REVERSED)
    for name in ('fc_cls.weight', 'fc_cls.bias', 'loss_cls.cum_samples'):
        assert (ours[f'bbox_head.{name}'] == -1).all()
    assert torch.equal(
        ours['bbox_head.fc_reg.bias'].view(4, 4), its['bbox_head.fc_reg.bias'].view(4, 4)[REVERSED]
    )


def test_a_head_of_ones_own_that_makes_no_layers_is_known():
    head = lambda: OwnLoss(**FCOS)
    ours, its = started(holder(bbox_head=head()), holder(bbox_head=head()), REVERSED)
    assert torch.equal(
        ours['bbox_head.conv_cls.weight'], its['bbox_head.conv_cls.weight'][REVERSED]
    )


@pytest.mark.parametrize('class_map', [None, [0, 1, 2, 3]])
def test_without_another_order_every_weight_that_fits_is_taken(class_map):
    parts = lambda: holder(bbox_head=ssd_head())
    ours, its = started(parts(), parts(), class_map)
    assert all(torch.equal(ours[name], its[name]) for name in its)


@pytest.mark.parametrize('class_map', [[1, 0, 2], [3, 2, 1, 9]])
def test_a_map_of_other_classes_is_refused(class_map):
    with pytest.raises(ConfigError, match=r'class_map.*4 classes.*bbox_head.*below 4'):
        inherit(holder(bbox_head=box_head()), holder(bbox_head=box_head()), class_map)


def test_a_distilled_detector_starts_with_its_classes_in_order(tmp_path):
    config = tiny_faster_rcnn()
    path = tmp_path / 'teacher.pth'
    torch.save(build_detector(config, seed=5).state_dict(), path)
    model = distilled(config, config, str(path), {})
    model['teacher'].update(class_map=[2, 0, 1], init_student='teacher')
    student = build_detector(model)
    its = student.teacher.model.state_dict()
    ours = student.state_dict()
    scores = 'roi_head.bbox_head.fc_cls.weight'
    assert torch.equal(ours[scores], its[scores][[2, 0, 1, 3]])
    for name in ('rpn_head.rpn_cls.weight', 'neck.fpn_convs.0.conv.weight'):
        assert torch.equal(ours[name], its[name])
    assert not torch.equal(ours['backbone.conv1.weight'], its['backbone.conv1.weight'])
