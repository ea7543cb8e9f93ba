"""A teacher of more classes says of the student's what one of those classes alone would say."""

import pytest
import torch

from ..conftest import build_detector, detection_batch, tiny_faster_rcnn

MAP = [4, 0, 2]
SITES = dict(
    roi_boxes=dict(type='btkd_det.BoxLoss'),
    roi_logits=dict(
        type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss'), judge='class_and_box'
    ),
)


@pytest.fixture(scope='module')
def teachers(tmp_path_factory):
    """One of five classes, and one that has only the rows of three of them."""
    folder = tmp_path_factory.mktemp('teachers')
    state = build_detector(tiny_faster_rcnn(num_classes=5), seed=7).state_dict()
    torch.save(state, folder / 'five.pth')
    for part in ('weight', 'bias'):
        head = f'roi_head.bbox_head.fc_{{}}.{part}'
        state[head.format('cls')] = state[head.format('cls')][[*MAP, 5]]
        sides = state[head.format('reg')].unflatten(0, (5, 4))
        state[head.format('reg')] = sides[MAP].flatten(0, 1)
    torch.save(state, folder / 'three.pth')
    return folder


@pytest.mark.parametrize('site', list(SITES))
@pytest.mark.usefixtures('progress')
def test_the_losses_are_those_of_a_teacher_of_the_students_classes(site, teachers):
    found = []
    for name, count, keys in (('five', 5, dict(class_map=MAP)), ('three', 3, {})):
        model = tiny_faster_rcnn()
        model.update(
            type='btkd_det.DistilledTwoStageDetector',
            teacher=dict(
                config=tiny_faster_rcnn(num_classes=count),
                checkpoint=str(teachers / f'{name}.pth'),
                **keys,
            ),
            distill={site: SITES[site]},
        )
        detector = build_detector(model)
        data = detector.data_preprocessor(detection_batch(), training=True)
        torch.manual_seed(0)
        found.append(detector(**data, mode='loss'))
    five, three = ({k: v for k, v in part.items() if k.startswith('distill.')} for part in found)
    assert five.keys() == three.keys()
    assert any(value > 0 for value in five.values())
    for key, value in five.items():
        torch.testing.assert_close(value, three[key])
