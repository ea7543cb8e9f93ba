"""Objects that a student finds and its teacher misses: by hand, and by detectors that are run."""

import copy

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.evaluation import FoundObjects, found_objects
from btkd_det.report.table import detection_table
from tests.conftest import build_detector, detection_batch

TRUE = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [21, 20, 31, 30]])
LABELS = torch.tensor([0, 1, 1])


def found(boxes, labels, scores, **options):
    boxes = torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)
    args = boxes, torch.tensor(labels), torch.tensor(scores), TRUE, LABELS
    return found_objects(*args, **options).tolist()


def test_each_detection_takes_the_free_object_of_its_class_that_it_overlaps_most():
    near = [20.4, 20, 30.4, 30]
    assert found([near], [1], [0.9]) == [False, True, False]
    assert found([near, near], [1, 1], [0.9, 0.8]) == [False, True, True]
    assert found([near, [21, 20, 31, 30]], [1, 1], [0.8, 0.9]) == [False, True, True]


def test_another_class_or_too_little_overlap_finds_nothing():
    assert found([[0, 0, 10, 10]], [1], [0.9]) == [False] * 3
    assert found([[0, 0, 10, 4.9]], [0], [0.9]) == [False] * 3
    assert found([[0, 0, 10, 5.1]], [0], [0.9]) == [True, False, False]
    assert found([[0, 0, 10, 5.1]], [0], [0.9], threshold=0.6) == [False] * 3
    assert found([], [], []) == [False] * 3


def test_no_object_is_no_fault():
    nothing = found_objects(TRUE, LABELS, torch.ones(3), TRUE[:0], LABELS[:0])
    assert nothing.shape == (0,)


def test_the_counts_and_their_table():
    metric = object.__new__(FoundObjects)
    pairs = [
        (torch.tensor([True, True, False]), torch.tensor([True, False, True])),
        (torch.tensor([False]), torch.tensor([False])),
    ]
    counts = metric.compute_metrics(pairs)

    assert counts == dict(objects=4, found=2, teacher_found=2, beyond=1, lost=1)
    lines = detection_table({f'teacher/{k}': v for k, v in counts.items()}).splitlines()
    shown = [' '.join(line.split()) for line in lines]
    assert any(line.endswith('(beyond the teacher) 1 of 2 50.00') for line in shown), lines
    assert 'teacher/' not in '\n'.join(lines)


@pytest.fixture
def metric(teacher_config, teacher_checkpoint):
    return FoundObjects(dict(config=teacher_config, checkpoint=teacher_checkpoint), score=0.0)


def predicted(model, batch):
    with torch.no_grad():
        samples = model.val_step(copy.deepcopy(batch))
    return [sample.to_dict() for sample in samples]


def test_a_student_that_is_its_teacher_finds_the_same(metric):
    batch = detection_batch()
    metric.process(batch, predicted(metric.teacher.model, batch))
    counts = metric.compute_metrics(metric.results)

    assert counts['objects'] == sum(len(s.gt_instances) for s in batch['data_samples']) > 0
    assert counts['found'] == counts['teacher_found']
    assert counts['beyond'] == counts['lost'] == 0


def test_a_student_that_finds_all_is_beyond_its_teacher(metric):
    batch = detection_batch()
    samples = predicted(metric.teacher.model, batch)
    for sample in samples:
        truth = sample['gt_instances']
        boxes = getattr(truth['bboxes'], 'tensor', truth['bboxes'])
        sample['pred_instances'] = dict(
            bboxes=boxes, labels=truth['labels'], scores=torch.ones(len(boxes))
        )
    metric.process(batch, samples)
    counts = metric.compute_metrics(metric.results)

    assert counts['found'] == counts['objects']
    assert counts['beyond'] == counts['objects'] - counts['teacher_found'] > 0
    assert counts['lost'] == 0


def test_data_without_annotations_are_refused(metric, student_config):
    batch = detection_batch()
    samples = predicted(build_detector(student_config), batch)
    for sample in samples:
        del sample['gt_instances']

    with pytest.raises(ConfigError, match='loads no annotations'):
        metric.process(batch, samples)
