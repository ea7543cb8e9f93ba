"""Copies of a distilled model: what they share with it, and what goes elsewhere with them."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage

from btkd_det.teacher.folding import FoldedFeatures
from tests.conftest import build_detector, detection_batch
from tests.models.test_two_stage import distilled

SITES = dict(roi_logits=dict(type='btkd_det.KDLoss'), fpn=dict(type='btkd_det.PKDLoss'))

pytestmark = pytest.mark.usefixtures('progress')


@pytest.fixture
def model(student_config, teacher_config, teacher_checkpoint):
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, SITES))
    return model.train()


def losses(model):
    data = model.data_preprocessor(detection_batch(), training=True)
    torch.manual_seed(0)
    return {key: value for key, value in model(**data, mode='loss').items() if 'distill' in key}


def test_a_copy_that_stays_shares_the_teacher(model):
    copied = copy.deepcopy(model)
    assert copied.to('cpu').float().teacher is model.teacher


@pytest.mark.parametrize(
    'elsewhere',
    [lambda model: model.double(), lambda model: model.half(), lambda model: model.to('meta')],
)
def test_a_copy_that_goes_elsewhere_leaves_the_teacher(model, elsewhere):
    before = losses(model)
    copied = elsewhere(copy.deepcopy(model))
    its, ours = (next(m.teacher.parameters()) for m in (copied, model))
    assert (its.dtype, its.device) == (
        next(copied.parameters()).dtype,
        next(copied.parameters()).device,
    )
    assert (ours.dtype, ours.device.type) == (torch.float32, 'cpu')
    after = losses(model)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_an_average_on_another_device_leaves_the_teacher(model):
    ExponentialMovingAverage(model, device='meta')
    assert next(model.teacher.parameters()).device.type == 'cpu'


def test_a_copy_trains_on_with_a_teacher_of_its_own(model):
    before = losses(model)
    copied = copy.deepcopy(model).double()
    del model
    # Its own maps, its own teacher: what was compiled or folded must not lead to the old one.
    assert copied.teacher.extract_feat.__self__ is copied.teacher.model
    batch = detection_batch()
    data = copied.data_preprocessor(batch, training=True)
    data['inputs'] = data['inputs'].double()
    torch.manual_seed(0)
    found = copied(**data, mode='loss')
    key = 'distill.fpn.loss_pkd'
    assert found[key].item() == pytest.approx(before[key].item(), rel=1e-4)
    # The second move is its own affair.
    teacher = copied.teacher
    assert copied.float().teacher is teacher
    assert next(teacher.parameters()).dtype == torch.float32


@pytest.mark.parametrize('fuse', [False, True])
def test_a_compiled_teacher_is_compiled_once_more(
    student_config, teacher_config, teacher_checkpoint, fuse
):
    config = distilled(student_config, teacher_config, teacher_checkpoint, SITES)
    config['teacher'].update(compile=dict(backend='eager'), fuse=fuse)
    model = build_detector(config)
    copied = copy.deepcopy(model).double()
    images = torch.rand(1, 3, 64, 64)
    maps = copied.teacher.extract_feat(images.double())
    assert maps[0].dtype == torch.float64
    assert isinstance(copied.teacher.extract_feat, FoldedFeatures) == fuse
    torch.testing.assert_close(maps[0].float(), model.teacher.extract_feat(images)[0])
