"""The teacher: what it loads, what it refuses, how it sees the student's images."""

import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor

from btkd_det.errors import ConfigError
from btkd_det.models import Teacher
from btkd_det.models.teacher import pretrained_address
from tests.conftest import build_detector

RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
CAFFE = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)


def preprocessor(**normalization):
    return DetDataPreprocessor(pad_size_divisor=32, **normalization)


@pytest.fixture
def teacher(teacher_config, teacher_checkpoint):
    return Teacher(teacher_config, teacher_checkpoint)


def test_it_has_the_weights_and_the_class_names_of_the_checkpoint(teacher, teacher_checkpoint):
    saved = torch.load(teacher_checkpoint, weights_only=True)['state_dict']
    assert all(torch.equal(saved[k], v) for k, v in teacher.model.state_dict().items())
    assert teacher.classes == ('cat', 'dog', 'hen')


def test_it_asks_for_no_gradient_and_stays_in_eval_mode(teacher):
    teacher.train()
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


def test_config_may_be_a_file_a_whole_config_or_its_model(
    teacher_config, teacher_checkpoint, tmp_path
):
    path = tmp_path / 'teacher.py'
    path.write_text(f'default_scope = "mmdet"\nmodel = {teacher_config.to_dict()!r}\n')
    for config in (str(path), dict(default_scope='mmdet', model=teacher_config), teacher_config):
        assert Teacher(config, teacher_checkpoint).classes == ('cat', 'dog', 'hen')


def test_building_it_downloads_no_initial_weights(teacher_config, teacher_checkpoint):
    teacher_config.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://none')
    built = Teacher(teacher_config, teacher_checkpoint).model
    assert 'Pretrained' not in str(built.backbone.init_cfg)


@pytest.mark.parametrize(
    'other',
    [
        CAFFE,
        dict(),
        dict(RGB, std=[1.0, 1.0, 1.0]),
        dict(pad_value=114.0),
        dict(RGB, pad_value=1.5),
    ],
)
def test_it_sees_images_in_its_own_normalization(teacher_config, teacher_checkpoint, other):
    teacher_config.data_preprocessor = dict(
        type='DetDataPreprocessor', pad_size_divisor=32, **other
    )
    teacher = Teacher(teacher_config, teacher_checkpoint)
    student = preprocessor(**RGB)
    teacher.follow(student)
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8)
        for h, w in ((40, 64), (64, 50))
    ]
    from mmdet.structures import DetDataSample

    def batch(by):
        samples = [DetDataSample(metainfo=dict(img_shape=i.shape[1:])) for i in images]
        return by(dict(inputs=[i.clone() for i in images], data_samples=samples))

    seen = teacher.images(batch(student)['inputs'], [(40, 64), (64, 50)])
    torch.testing.assert_close(
        seen, batch(teacher.model.data_preprocessor)['inputs'].float(), atol=1e-4, rtol=1e-5
    )


def test_images_normalized_alike_are_passed_on_untouched(teacher):
    teacher.follow(preprocessor(**RGB))
    images = torch.rand(1, 3, 8, 8)
    assert teacher.images(images) is images


def test_its_precision_may_differ_from_the_students(teacher_config, teacher_checkpoint):
    teacher = Teacher(teacher_config, teacher_checkpoint, dtype='bfloat16')
    with torch.autocast('cpu', torch.float16, enabled=False), teacher.at_work('cpu'):
        assert teacher.model.extract_feat(torch.rand(1, 3, 64, 64))[0].dtype == torch.bfloat16
    exact = Teacher(teacher_config, teacher_checkpoint, dtype='float32')
    with torch.autocast('cpu', torch.bfloat16), exact.at_work('cpu'):
        assert exact.model.extract_feat(torch.rand(1, 3, 64, 64))[0].dtype == torch.float32


def test_no_checkpoint_is_possible_and_warned_of(teacher_config, caplog):
    import logging

    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        Teacher(teacher_config)
    logger.removeHandler(caplog.handler)
    assert 'teacher.checkpoint' in caplog.text
    assert 'random' in caplog.text


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(checkpoint='no.pth'), ['teacher.checkpoint', 'no.pth', 'pretrained']),
        (dict(dtype='float8'), ['teacher.dtype', 'float8', 'bfloat16']),
        (dict(checkpoint='pretrained'), ["'pretrained'", 'mmdet::']),
        *(
            (dict(class_map=value), ['teacher.class_map', repr(value), 'distinct'])
            for value in (5, '0123', [], [-1, 0, 1], [0, 0, 1], [0.5, 1, 2], [True, 2], {0: 1})
        ),
        *(
            (dict(compile=value), ['teacher.compile', repr(value), 'True, False', 'backend'])
            for value in ('false', 1, None, ['inductor'])
        ),
        (dict(compile=dict(modee='x')), ['teacher.compile', "'modee'", "'mode'", 'dynamic']),
        (dict(compile=dict(mode='fastest')), ['teacher.compile', 'fastest']),
    ],
)
def test_wrong_arguments_are_named(teacher_config, teacher_checkpoint, arguments, words):
    arguments = dict(dict(config=teacher_config, checkpoint=teacher_checkpoint), **arguments)
    with pytest.raises(ConfigError) as caught:
        Teacher(**arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ('options', 'called'),
    [(False, []), (True, [{}]), (dict(backend='eager'), [dict(backend='eager')])],
)
def test_it_is_compiled_where_asked(
    teacher_config, teacher_checkpoint, options, called, monkeypatch
):
    calls = []

    def compiler(model=None, *, backend='inductor'):
        calls.append({} if backend == 'inductor' else dict(backend=backend))
        return lambda images: 'compiled'

    monkeypatch.setattr(torch, 'compile', compiler)
    teacher = Teacher(teacher_config, teacher_checkpoint, compile=options)
    assert calls == called
    assert (teacher.extract_feat(torch.rand(1, 3, 32, 32)) == 'compiled') is bool(called)


@pytest.mark.parametrize('class_map', [[2, 0], (2, 0), range(2, -1, -2)])
def test_its_class_names_are_the_students(teacher_config, teacher_checkpoint, class_map):
    teacher = Teacher(teacher_config, teacher_checkpoint, class_map=class_map)
    assert teacher.classes == ('hen', 'cat')
    assert teacher.class_map == [2, 0]


def test_weights_of_another_architecture_are_refused(teacher_config, student_config, tmp_path):
    path = tmp_path / 'student.pth'
    torch.save(build_detector(student_config).state_dict(), path)
    with pytest.raises(ConfigError, match=r'teacher.checkpoint.*\(8,.*\(12,'):
        Teacher(teacher_config, str(path))


def test_the_model_zoo_is_asked_for_pretrained_weights():
    config = 'mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'
    address = pretrained_address(config)
    assert address.startswith('http')
    assert address.endswith('.pth')
    assert 'faster_rcnn_r101_fpn_2x_coco' in address
    with pytest.raises(ConfigError, match=r'lists no weights'):
        pretrained_address('mmdet::_base_/models/faster-rcnn_r50_fpn.py')


def test_an_address_that_cannot_be_reached_is_one_error(teacher_config):
    with pytest.raises(ConfigError, match=r'teacher.checkpoint: http://127.0.0.1:9/t.pth'):
        Teacher(teacher_config, 'http://127.0.0.1:9/t.pth')
