"""Agreement with a teacher: counts of hand-made predictions, and a teacher that is run."""

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.evaluation import TeacherAgreement, agreement
from btkd_det.report.table import accuracy_table
from tests.classifiers import NUM_CLASSES, build_classifier, image_batch, save_teacher, tiny_resnet


def test_the_counts_of_ten_rows():
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    teacher = torch.tensor([0, 1, 2, 3, 4, 0, 0, 0, 0, 0])
    student = torch.tensor([0, 1, 2, 0, 0, 1, 1, 0, 1, 0])
    assert agreement(labels, student, teacher) == dict(
        top1=60.0,
        agreement=50.0,
        beyond_share=25.0,
        kept_share=50.0,
        wrong=4,
        beyond=1,
        right=6,
        kept=3,
    )


def test_a_teacher_that_is_always_right_leaves_nothing_to_surpass():
    labels = torch.tensor([0, 1])
    found = agreement(labels, torch.tensor([0, 0]), labels)
    assert (found['wrong'], found['beyond'], found['beyond_share']) == (0, 0, -1.0)
    assert found['kept_share'] == 50.0
    table = accuracy_table({f'teacher/{k}': v for k, v in found.items()} | {'accuracy/top1': 50.0})
    assert '0 of 0' in table
    assert table.split('(beyond the teacher)')[1].split('\n')[0].split()[-1] == '-'


def test_the_table_has_both_models_and_whatever_else_was_measured():
    metrics = {
        'accuracy/top1': 71.234,
        'accuracy/top5': 90.0,
        'single-label/f1-score': 70.5,
        'teacher/top1': 72.5,
        'teacher/agreement': 80.125,
        'teacher/wrong': 275,
        'teacher/beyond': 55,
        'teacher/beyond_share': 20.0,
        'teacher/right': 725,
        'teacher/kept': 657,
        'teacher/kept_share': 90.62,
    }
    lines = accuracy_table(metrics).splitlines()
    cells = [line.split() for line in lines]
    assert ['student', '71.23', '90.00'] in cells
    assert ['teacher', '72.50'] in cells
    assert any(line.endswith('55 of 275  20.00') for line in lines)
    assert any(line.endswith('657 of 725  90.62') for line in lines)
    assert any(line.endswith('80.12') for line in lines)
    assert lines[-1] == 'single-label/f1-score: 70.5'


def predictions(labels):
    return [dict(gt_label=torch.tensor([0]), pred_label=torch.tensor([int(i)])) for i in labels]


@pytest.fixture
def teacher(tmp_path):
    other = dict(mean=[0.0] * 3, std=[255.0] * 3, to_rgb=True)
    cfg = tiny_resnet(**other)
    return dict(config=cfg, checkpoint=save_teacher(tmp_path / 't.pth', cfg))


def test_the_teacher_sees_the_raw_data_by_its_own_preprocessor(teacher):
    model = build_classifier(teacher['config'], seed=7).eval()
    data = model.data_preprocessor(image_batch())
    expected = model.head(model.extract_feat(data['inputs'])).argmax(dim=1)
    metric = TeacherAgreement(teacher)
    seen = []
    backbone = metric.teacher.model.backbone
    backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    student = (expected + torch.tensor([0, 0, 0, 0, 1, 2])) % NUM_CLASSES
    metric.process(image_batch(), predictions(student))
    assert torch.equal(seen[0], data['inputs'])
    assert [row[2] for row in metric.results] == expected.tolist()
    found = metric.evaluate(6)
    assert found['teacher/agreement'] == pytest.approx(100 * 4 / 6)
    assert found['teacher/right'] == int((expected == 0).sum())


def test_a_class_map_gives_the_students_classes(teacher):
    order = [6, 5, 4, 3, 2, 1, 0]
    plain = TeacherAgreement(teacher).choices(image_batch())
    mapped = TeacherAgreement(dict(teacher, class_map=order)).choices(image_batch())
    assert torch.equal(mapped, NUM_CLASSES - 1 - plain)


def test_no_teacher_is_refused():
    with pytest.raises(ConfigError, match='teacher: expected dict'):
        TeacherAgreement('teacher.pth')
