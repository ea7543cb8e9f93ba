"""A teacher that knows other classes is evaluated in the student's."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from btkd_det.hooks import TeacherEvaluationHook


class Evaluator:
    """Keeps what it is given, and counts the labels."""

    def __init__(self):
        self.samples = []

    def process(self, data_samples, data_batch):
        self.samples += data_samples

    def evaluate(self, size):
        return {'coco/bbox_mAP': float(size)}


class Board:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))


class Sayer:
    """A teacher's model that always predicts the same."""

    def __init__(self, make):
        self.val_step = lambda batch: [make()]


def runner(make, class_map):
    model = nn.Module()
    object.__setattr__(model, 'teacher', SimpleNamespace(model=Sayer(make), class_map=class_map))
    loader = type('Loader', (list,), dict(dataset=[0, 1, 2]))(['batch'])
    return SimpleNamespace(
        model=model,
        val_loop=SimpleNamespace(dataloader=loader, evaluator=Evaluator()),
        logger=logging.getLogger('teacher-evaluation'),
        visualizer=Board(),
    )


def detections():
    found = InstanceData(
        labels=torch.tensor([0, 3, 1, 2, 3]),
        scores=torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]),
        bboxes=torch.arange(20.0).view(5, 4),
        masks=torch.arange(5).view(5, 1, 1).expand(5, 2, 2),
    )
    return DetDataSample(pred_instances=found)


@pytest.mark.parametrize(
    ('class_map', 'labels', 'rows'),
    [
        (None, [0, 3, 1, 2, 3], [0, 1, 2, 3, 4]),
        ([3, 2, 1, 0], [3, 0, 2, 1, 0], [0, 1, 2, 3, 4]),
        ([3, 1], [0, 1, 0], [1, 2, 4]),
    ],
)
def test_detections_are_told_in_the_students_classes(class_map, labels, rows, caplog):
    run = runner(detections, class_map)
    with caplog.at_level(logging.INFO):
        TeacherEvaluationHook().before_train(run)
    (sample,) = run.val_loop.evaluator.samples
    said, all_of_it = sample.pred_instances, detections().pred_instances
    assert said.labels.tolist() == labels
    for name in ('scores', 'bboxes', 'masks'):
        assert torch.equal(said[name], all_of_it[name][rows])
    assert run.visualizer.scalars == [('teacher/coco/bbox_mAP', 3.0, 0)]
    assert 'teacher: coco/bbox_mAP: 3.0000' in caplog.text


def test_a_picture_without_any_of_them_has_no_detection():
    run = runner(detections, [5])
    TeacherEvaluationHook().before_train(run)
    assert len(run.val_loop.evaluator.samples[0].pred_instances) == 0


def test_a_classifiers_scores_are_those_of_the_students_classes():
    structures = pytest.importorskip('mmpretrain.structures')

    def scores():
        sample = structures.DataSample()
        return sample.set_pred_score(torch.tensor([0.4, 0.1, 0.3, 0.2])).set_pred_label(0)

    run = runner(scores, [3, 2])
    TeacherEvaluationHook().before_train(run)
    (sample,) = run.val_loop.evaluator.samples
    assert sample.pred_score.tolist() == pytest.approx([0.2, 0.3])
    assert sample.pred_label.tolist() == [1]
