"""Import paths of earlier versions, which configs and other people's code name."""

import importlib

import pytest

PATHS = {
    'btkd_det.losses': ['BTKDLoss', 'KDLoss'],
    'btkd_det.losses.logit_loss': ['LogitLoss', 'as_float', 'check_positive'],
    'btkd_det.losses.reviewkd': ['hierarchical_context_loss'],
    'btkd_det.models': ['CachedTeacher', 'DistilledTwoStageDetector', 'Teacher', 'backbones'],
    'btkd_det.models.cached_teacher': ['CachedTeacher'],
    'btkd_det.models.data_classes': ['check_classes', 'classes_of_run', 'compares_classes'],
    'btkd_det.models.distilled': ['Distilled', 'undisturbed_rng'],
    'btkd_det.models.inheritance': ['inherit'],
    'btkd_det.models.probe': ['candidates', 'input_shape'],
    'btkd_det.models.teacher': ['Teacher', 'build_teacher', 'pretrained_address'],
    'btkd_det.teacher_cache': ['check_header', 'file_digest', 'read_cache', 'write_cache'],
}


@pytest.mark.parametrize('path', PATHS)
def test_what_was_there_is_there(path):
    module = importlib.import_module(path)
    assert [name for name in PATHS[path] if not hasattr(module, name)] == []
