"""A teacher whose classes are not the data's is refused, whoever starts the training."""

import logging

import pytest
import torch
from mmengine.visualization import Visualizer

from btkd_det.errors import ConfigError
from btkd_det.models import Teacher
from btkd_det.models.data_classes import check_classes, classes_of_run, compares_classes
from btkd_det.teacher import class_names

from ..classifiers import (
    build_classifier,
    distilled_resnet,
    image_batch,
    save_teacher,
    tiny_resnet,
)
from ..conftest import build_detector, detection_batch, tiny_faster_rcnn

DATA = ('cat', 'dog', 'hen')


class Taught:
    def __init__(self, classes, class_map=None):
        self.classes, self.class_map = classes, class_map


@pytest.mark.parametrize(
    ('teacher', 'words'),
    [
        (Taught(('hen', 'cat', 'dog')), ['class_map: None', 'hen, cat, dog', '[1, 2, 0]']),
        (Taught(('ant', 'hen', 'dog', 'cat')), ['valid: class_map=[3, 2, 1]']),
        (Taught(('cat', 'cow')), ["only the teacher's: cow; only the data set's: dog, hen"]),
        (Taught(('cat', 'cow')), ['--distill feature']),
        (Taught(('cat', 'cow', 'DOG')), ['only the names differ, class_map=[0, 1, 2] in']),
    ],
)
def test_the_difference_is_named(teacher, words):
    with pytest.raises(ConfigError) as caught:
        check_classes(teacher, DATA)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    'classes', [('dog', 'hen', 'cat'), ('DOG', 'HEN', 'CAT'), ('cat',), tuple('abcd')]
)
def test_what_the_user_states_is_taken_with_a_warning(classes, monkeypatch):
    lines = []
    monkeypatch.setattr(class_names, 'print_log', lambda line, *args: lines.append((line, *args)))
    check_classes(Taught(classes, [5, 6, 7]), DATA)
    [(line, _, level)] = lines
    assert line.startswith('model.teacher.class_map: [5, 6, 7] makes')
    assert level == logging.WARNING


def test_a_map_beyond_the_names_of_the_checkpoint_is_taken_too(teacher_config, teacher_checkpoint):
    teacher = Teacher(teacher_config, teacher_checkpoint, class_map=[3, 0, 1])
    assert teacher.class_map == [3, 0, 1]
    assert teacher.classes is None


KD, PKD = dict(type='btkd_det.KDLoss'), dict(type='btkd_det.PKDLoss')


@pytest.mark.parametrize(
    ('sites', 'compared'),
    [
        (None, False),
        ({}, False),
        (dict(fpn=PKD), False),
        (dict(fpn=[PKD, dict(PKD, gate='foreground')], roi_features=PKD), False),
        (dict(fpn=dict(losses=[PKD, dict(PKD, gate='teacher_right')])), True),
        (dict(fpn=PKD, roi_logits=dict(losses=KD, stages='last')), True),
        (dict(dense_logits=[KD]), True),
        (dict(dense_boxes=dict(type='btkd_det.DistributionLoss')), False),
        (dict(logits=KD, features=PKD), True),
    ],
)
def test_classes_are_asked_for_where_they_are_compared(sites, compared):
    assert compares_classes(sites) is compared


@pytest.mark.parametrize('site', ['fpn', 'roi_logits'])
def test_features_are_learned_from_a_teacher_of_any_classes(site, student_config, tmp_path):
    teacher = tiny_faster_rcnn(num_classes=5 if site == 'fpn' else 3)
    path = tmp_path / 'teacher.pth'
    meta = dict(dataset_meta=dict(classes=tuple('abcde')))
    torch.save(dict(meta=meta, state_dict=build_detector(teacher).state_dict()), path)
    student_config.update(
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=teacher, checkpoint=str(path)),
        distill={site: PKD if site == 'fpn' else KD},
    )
    model = build_detector(student_config)
    Visualizer.get_instance('test').dataset_meta = dict(classes=DATA)
    data = model.data_preprocessor(detection_batch(), training=True)
    if site == 'roi_logits':
        with pytest.raises(ConfigError, match='learned other classes.*--distill feature'):
            model(**data, mode='loss')
    else:
        assert model(**data, mode='loss')['distill.fpn.loss_pkd'] > 0


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
