"""A distilled run's checkpoint is used without its teacher's files, by MMDetection's own means."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config

from btkd_det.config import distill
from btkd_det.config.plain import plain_config
from btkd_det.config.reading import read_config
from btkd_det.hooks import PlainConfigHook
from tests.conftest import build_detector, tiny_faster_rcnn
from tests.single_stage import tiny

TEACHER = dict(config='gone.py', checkpoint='gone.pth')


def distilled(model, preset='btkd'):
    cfg = read_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'test')
    cfg.model = model
    cfg.custom_hooks = [dict(type='btkd_det.ExactResumeHook'), dict(type='NumClassCheckHook')]
    return distill(cfg, TEACHER, preset)


def finish(cfg, state, work_dir):
    """What the hook does of a run: the checkpoint, as it is then saved, and the work dir's file."""
    hook = PlainConfigHook()
    runner = SimpleNamespace(cfg=cfg, work_dir=str(work_dir))
    hook.before_train(runner)
    info = dict(cfg=cfg.pretty_text)
    meta = dict(info, dataset_meta=dict(classes=('cat', 'dog', 'hen')))
    checkpoint = dict(meta=meta, state_dict=state, message_hub=dict(runtime_info=info))
    hook.before_save_checkpoint(runner, checkpoint)
    path = work_dir / 'epoch_1.pth'
    torch.save(checkpoint, path)
    return str(path)


def test_mmdetection_infers_without_the_teacher(tmp_path):
    student = build_detector(tiny_faster_rcnn())
    cfg = distilled(tiny_faster_rcnn())
    path = finish(cfg, student.state_dict(), tmp_path)
    image = np.zeros((32, 32, 3), np.uint8)
    (written,) = tmp_path.glob('*_plain.py')
    model = init_detector(str(written), path, device='cpu')
    assert type(model).__module__ == 'mmdet.models.detectors.two_stage'
    for own in (model, DetInferencer(weights=path, device='cpu').model):
        assert own.dataset_meta['classes'] == ('cat', 'dog', 'hen')
        for key, value in student.state_dict().items():
            assert torch.equal(own.state_dict()[key], value), key
    inferencer = DetInferencer(weights=path, device='cpu', show_progress=False)
    assert len(inferencer([image])['predictions']) == 1


@pytest.mark.parametrize('name', ['RetinaNet', 'RTMDet'])
def test_the_plain_class_has_the_students_keys(name):
    plain = plain_config(distilled(tiny(name), 'feature'))
    assert not {'teacher', 'distill'} & plain.model.keys()
    assert 'custom_imports' not in plain
    assert [hook.type for hook in plain.custom_hooks] == ['NumClassCheckHook']
    assert 'gone' not in plain.pretty_text
    built = build_detector(plain.model)
    assert built.state_dict().keys() == build_detector(tiny(name)).state_dict().keys()


def test_any_other_detector_is_its_host_again():
    model = dict(type='btkd_det.DistilledDetector', host='DINO', teacher=TEACHER, distill={})
    plain = plain_config(Config(dict(model=model, custom_imports=dict(imports=['btkd_det', 'me']))))
    assert plain.model == dict(type='DINO')
    assert plain.custom_imports.imports == ['me']


@pytest.mark.parametrize('around', [False, True])
def test_what_is_left_of_this_package_stays_imported(around):
    model = dict(
        type='btkd_det.DistilledImageClassifier',
        backbone=dict(type='btkd_det.CIFARResNet'),
        teacher=TEACHER,
        distill={},
        mixed='drop',
    )
    evaluators = [dict(type='Accuracy'), dict(type='btkd_det.TeacherAgreement', teacher=TEACHER)]
    imports = dict(imports=['btkd_det'])
    if around:
        evaluators = dict(type='Evaluator', metrics=evaluators)
    cfg = Config(dict(model=model, test_evaluator=evaluators, custom_imports=imports))
    plain = plain_config(cfg)
    assert plain.model.type == 'mmpretrain.ImageClassifier'
    assert plain.model.keys() == {'type', 'backbone'}
    assert plain.custom_imports.imports == ['btkd_det']
    left = plain.test_evaluator.metrics if around else plain.test_evaluator
    assert left == [dict(type='Accuracy')]
    assert cfg.model.mixed == 'drop'


def test_a_plain_config_is_left_alone(tmp_path):
    cfg = Config(dict(model=dict(type='FasterRCNN')))
    assert plain_config(cfg) is None
    path = finish(cfg, {'w': torch.ones(1)}, tmp_path)
    assert torch.load(path, weights_only=True)['meta']['cfg'] == cfg.pretty_text
    assert [file.name for file in tmp_path.iterdir()] == ['epoch_1.pth']
