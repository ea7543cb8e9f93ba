"""What a single-stage detector cannot distill is said when it is built."""

import pytest
from mmdet.models.dense_heads import RetinaHead
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.sites.dense_checks import heads_of
from tests.conftest import build_detector
from tests.single_stage import distilled, save, step, tiny

BINARY = dict(type='btkd_det.BinaryKDLoss')
BTKD = dict(type='btkd_det.BTKDLoss', loss=BINARY)
PKD = dict(type='btkd_det.PKDLoss')

pytestmark = pytest.mark.usefixtures('progress')


def with_head(head):
    """A RetinaNet with another dense head."""
    config = tiny('RetinaNet')
    config.bbox_head.type = head
    return config


def build(student, sites, folder, teacher=None, **teacher_keys):
    """A distilled detector; a teacher of the same config unless there is another."""
    teacher = teacher or student
    save(teacher, folder / 'teacher.pth')
    config = distilled(student, teacher, folder / 'teacher.pth', sites)
    config['teacher'].update(teacher_keys)
    return build_detector(config)


@pytest.mark.parametrize('head', ['FreeAnchorRetinaHead'])
def test_a_head_that_cannot_be_recorded_distills_its_features(head, tmp_path):
    config = with_head(head)
    message = rf'bbox_head: {head} does not.*valid: .*AnchorHead.*RTMDetHead.*site fpn alone'
    with pytest.raises(ConfigError, match=message):
        build(config, dict(dense_logits=BINARY), tmp_path)
    assert set(build(config, dict(fpn=PKD), tmp_path).distill) == {'fpn'}


def test_sigmoids_are_not_compared_where_there_are_none(tmp_path):
    config = tiny('RetinaNet')
    config.bbox_head.loss_cls = dict(type='CrossEntropyLoss')
    for loss in (BINARY, BTKD):
        with pytest.raises(
            ConfigError, match='dense_logits.type: BinaryKDLoss.*RetinaHead.*KDLoss'
        ):
            build(config, dict(dense_logits=loss), tmp_path)
    assert build(config, dict(dense_logits=dict(type='btkd_det.KDLoss')), tmp_path).distill


class Obedient(RetinaHead):
    """A user's head that adds to the loss and leaves its way alone."""

    def loss_by_feat(self, *args, **kwargs):
        losses = super().loss_by_feat(*args, **kwargs)
        return dict(losses, loss_more=losses['loss_cls'][0])


class Mute(Obedient):
    """One that never calls its loss_cls."""

    def loss_by_feat(self, cls_scores, *args, **kwargs):
        return dict(loss_cls=cls_scores[0].sum())


class Talker(Obedient):
    """One that calls it twice."""

    def loss_by_feat(self, *args, **kwargs):
        super().loss_by_feat(*args, **kwargs)
        return super().loss_by_feat(*args, **kwargs)


def test_a_head_of_the_users_own_is_checked_by_what_it_does(tmp_path):
    sites = dict(dense_logits=BINARY)
    assert (
        step(build(with_head(Obedient), sites, tmp_path))['distill.dense_logits.loss_binary_kd'] > 0
    )
    for head in (Mute, Talker):
        model = build(with_head(head), sites, tmp_path)
        with pytest.raises(ConfigError, match=rf'bbox_head: {head.__name__} does not'):
            step(model)


def test_a_teacher_with_other_levels(tmp_path):
    teacher = tiny('RetinaNet')
    teacher.neck.num_outs = 6
    teacher.bbox_head.anchor_generator.strides = [8, 16, 32, 64, 128, 256]
    message = (
        r'teacher\.config: of an image of 128 x 128 .*'
        r'\[\(16, 16\), .*\(1, 1\), \(1, 1\)\] .*student.s of \[\(16, 16\), .*\(1, 1\)\]; both'
    )
    with pytest.raises(ConfigError, match=message):
        build(tiny('RetinaNet'), dict(dense_logits=BINARY), tmp_path, teacher)


@pytest.mark.parametrize('class_map', [[0, 1], [0, 1, 2, 3], [0, 1, 4]])
def test_a_class_map_of_other_classes(class_map, tmp_path):
    teacher = tiny('RetinaNet')
    teacher.bbox_head.num_classes = 4
    message = r'teacher\.class_map: \[.*valid: for each of the 3 classes .* below 4'
    with pytest.raises(ConfigError, match=message):
        build(tiny('RetinaNet'), dict(dense_logits=BINARY), tmp_path, teacher, class_map=class_map)


def test_a_teacher_of_more_classes_without_a_map(tmp_path):
    teacher = tiny('RetinaNet')
    teacher.bbox_head.num_classes = 4
    message = r'bbox_head.num_classes is 4 and the student.s 3; valid .*--distill feature'
    with pytest.raises(ConfigError, match=message):
        build(tiny('RetinaNet'), dict(dense_logits=BINARY), tmp_path, teacher)


def test_what_only_rois_have(tmp_path):
    boxes = dict(dense_logits=[BINARY, dict(BTKD, judge='class_and_box')])
    message = r"distill\.dense_logits\[1\]\.judge: 'class_and_box'.*valid .*: 'class'"
    with pytest.raises(ConfigError, match=message):
        build(tiny('RetinaNet'), boxes, tmp_path)


def test_ikd_counts_the_background_column(tmp_path):
    means = lambda num_classes: dict(type='btkd_det.IKDLoss', num_classes=num_classes)
    message = r'distill\.dense_logits\.num_classes: 3; valid: 4, the 3 classes .*a column for backg'
    with pytest.raises(ConfigError, match=message):
        build(tiny('RetinaNet'), dict(dense_logits=means(3)), tmp_path)
    log = step(build(tiny('RetinaNet'), dict(dense_logits=means(4)), tmp_path))
    assert log['distill.dense_logits.loss_ikd'] == 0


@pytest.mark.parametrize('head', ['missing', None])
def test_a_student_without_a_dense_head(head):
    student = nn.Module()
    if head is None:
        student.bbox_head = None
    with pytest.raises(ConfigError, match=r'Module has no dense head \(bbox_head\); valid .* fpn'):
        heads_of(student, None)
