"""A teacher whose classes are not the data's is refused, whoever starts the training."""

import pytest
import torch
from mmengine.visualization import Visualizer

from btkd_det.errors import ConfigError
from btkd_det.models.data_classes import check_classes, classes_of_run

from ..classifiers import (
    build_classifier,
    distilled_resnet,
    image_batch,
    save_teacher,
    tiny_resnet,
)
from ..conftest import build_detector, detection_batch

DATA = ('cat', 'dog', 'hen')


class Taught:
    def __init__(self, classes, class_map=None):
        self.classes, self.class_map = classes, class_map


@pytest.mark.parametrize(
    ('teacher', 'words'),
    [
        (Taught(('hen', 'cat', 'dog')), ['class_map: None', 'hen, cat, dog', '[1, 2, 0]']),
        (Taught(('ant', 'hen', 'dog', 'cat')), ['valid: class_map=[3, 2, 1]']),
        # The teacher's own are cat, dog, hen in this order, whatever they are called.
        (Taught(('dog', 'hen', 'cat'), [5, 6, 7]), ['[5, 6, 7]', 'valid: class_map=[7, 5, 6]']),
        (Taught(('cat', 'cow')), ["only the teacher's: cow; only the data set's: dog, hen"]),
    ],
)
def test_the_difference_is_named(teacher, words):
    with pytest.raises(ConfigError) as caught:
        check_classes(teacher, DATA)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize('teacher', [None, Taught(None), Taught(DATA), Taught(list(DATA))])
def test_nothing_to_say(teacher):
    check_classes(teacher, DATA)


def test_the_newest_runner_tells_the_classes():
    assert classes_of_run() is None
    for i, names in enumerate([('ant',), 'bee', DATA]):
        Visualizer.get_instance(f'test-{i}').dataset_meta = dict(classes=names)
        assert classes_of_run() == ((names,) if isinstance(names, str) else names)
    Visualizer.get_instance('test-3').dataset_meta = None
    assert classes_of_run() is None


@pytest.mark.parametrize(
    ('parts', 'classes'),
    [
        ([dict(classes=DATA, palette=[1]), dict(classes=list(DATA))], DATA),
        ([dict(classes=DATA), dict(classes=DATA[::-1])], None),
        ([dict(), dict()], None),
        ([], None),
    ],
)
def test_concatenated_data_tell_the_classes_of_all_parts(parts, classes):
    Visualizer.get_instance('test-concat').dataset_meta = parts
    assert classes_of_run() == classes


@pytest.mark.parametrize(
    ('class_map', 'meta', 'refused'),
    [
        (None, dict(classes=('hen', 'dog', 'cat')), True),
        ([2, 1, 0], dict(classes=('hen', 'dog', 'cat')), False),
        (None, dict(classes=DATA), False),
        (None, {}, False),
    ],
)
def test_the_first_step_of_a_training_holds_both_against_each_other(
    class_map, meta, refused, student_config, teacher_config, teacher_checkpoint
):
    student_config.update(
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=teacher_config, checkpoint=teacher_checkpoint, class_map=class_map),
        distill=dict(roi_logits=dict(type='btkd_det.KDLoss')),
    )
    model = build_detector(student_config)
    Visualizer.get_instance('test').dataset_meta = meta
    data = model.data_preprocessor(detection_batch(), training=True)
    with torch.no_grad():
        model(**data, mode='predict')
        if refused:
            with pytest.raises(ConfigError, match=r'model.teacher.class_map: None.*\[2, 1, 0\]'):
                model(**data, mode='loss')
        else:
            assert model(**data, mode='loss')['distill.roi_logits.loss_kd'] > 0


def test_a_classifier_asks_too(tmp_path):
    pytest.importorskip('mmpretrain')
    path = save_teacher(tmp_path / 'teacher.pth', tiny_resnet(), classes=tuple('gfedcba'))
    teacher = dict(config=tiny_resnet(), checkpoint=path)
    model = build_classifier(distilled_resnet(teacher, dict(logits=dict(type='KDLoss'))))
    data = model.data_preprocessor(image_batch(), training=True)
    assert model(**data, mode='loss')['distill.logits.loss_kd'] > 0
    model = build_classifier(distilled_resnet(teacher, dict(logits=dict(type='KDLoss'))))
    Visualizer.get_instance('test').dataset_meta = dict(classes=tuple('abcdefg'))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r'class_map=\[6, 5, 4, 3, 2, 1, 0\]'):
            model(**data, mode='loss')
