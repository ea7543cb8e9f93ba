"""Import paths of earlier versions, which configs and other people's code name."""

import importlib

import pytest

PATHS = {
    'btkd_det.config': [
        *('ANY', 'CLASSIFIER', 'DISTILLED', 'PRESETS', 'SINGLE_STAGE', 'TWO_STAGE', 'added_text'),
        *('count_classes', 'distill', 'distilled_type', 'make_distilled', 'teacher_from_options'),
        *('without_distillation',),
    ],
    'btkd_det.config_file': ['read_config', 'type_name'],
    'btkd_det.log_options': ['MEAN_PATTERN', 'average_log'],
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
