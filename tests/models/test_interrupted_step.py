"""After an error or Ctrl-C anywhere in a step, the model is as it was before."""

import copy

import pytest
import torch

from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.models.test_two_stage import distilled
from tests.single_stage import distilled as distilled_single
from tests.single_stage import save, tiny

KD = dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss'), schedule='none')
PKD = dict(type='btkd_det.PKDLoss', gate='teacher_right')


def faster_rcnn(path):
    student, teacher = tiny_faster_rcnn(), tiny_faster_rcnn(width=12, neck=24)
    save(teacher, path)
    return distilled(student, teacher, str(path), dict(roi_logits=KD, fpn=PKD))


def retinanet(path):
    save(tiny('RetinaNet'), path)
    losses = dict(dense_logits=KD, fpn=dict(type='btkd_det.PKDLoss'))
    return distilled_single(tiny('RetinaNet'), tiny('RetinaNet'), path, losses)


def losses(model):
    torch.manual_seed(3)
    data = model.data_preprocessor(copy.deepcopy(detection_batch()), training=True)
    found = model(**data, mode='loss')
    return model.parse_losses(found)[1]


def traces(model):
    """What a module holds beside what it is: hooks, and methods that were put on it."""
    found = []
    for name, module in [*model.named_modules(), *model.teacher.model.named_modules()]:
        hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
        put = sorted(key for key, value in vars(module).items() if callable(value))
        found.append((name, hooks, put, module.training))
    return found


def places(model):
    """Modules whose forward is broken off: of student and teacher, early and late."""
    head = getattr(model, 'roi_head', None)
    of_teacher = model.teacher.model
    found = [model.backbone, model.neck, of_teacher.backbone, of_teacher.neck]
    if head is not None:
        found += [head.bbox_head, of_teacher.roi_head.bbox_head, head.bbox_head.loss_cls]
    else:
        found += [model.bbox_head, of_teacher.bbox_head, model.bbox_head.loss_cls]
    return [*found, *[loss for site in model.distill.values() for loss in site]]


@pytest.mark.parametrize(
    ('detector', 'error'), [(faster_rcnn, KeyboardInterrupt), (retinanet, RuntimeError)]
)
def test_nothing_is_left_and_the_next_step_is_what_it_would_have_been(detector, error, tmp_path):
    model = build_detector(detector(tmp_path / 'teacher.pth')).train()
    state = copy.deepcopy(model.state_dict())
    expected, before = losses(model), traces(model)
    for place in places(model):

        def broken(*args, **kwargs):
            raise error

        place.forward = broken
        with pytest.raises(error):
            losses(model)
        del place.forward
        model.load_state_dict(state)
        assert traces(model) == before
        found = losses(model)
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        model.load_state_dict(state)
