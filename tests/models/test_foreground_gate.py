"""``gate='foreground'`` in detectors that have no box head: the inside of the annotated boxes."""

import pytest
import torch

from btkd_det.errors import ConfigError
from tests.conftest import build_detector, detection_batch
from tests.single_stage import distilled, save, step, tiny, tiny_detr

BACKGROUND_WEIGHT = 0.25
GATED = dict(
    type='btkd_det.FitNetLoss', gate='foreground', background_weight=BACKGROUND_WEIGHT, levels=(0,)
)
DETR = dict(type='btkd_det.DistilledDetector', host='DETR')

pytestmark = pytest.mark.usefixtures('progress')


def covers(box, x, y, step_x, step_y):
    """Whether the position's center lies in the box, or the box's center in the position."""
    x1, y1, x2, y2 = box
    holds = abs(x - (x1 + x2) / 2) <= step_x / 2 and abs(y - (y1 + y2) / 2) <= step_y / 2
    return holds or (x1 <= x <= x2 and y1 <= y <= y2)


def expected(student, teacher, data):
    """FitNet's loss inside the boxes, plus a quarter of that outside: one position at a time."""
    inside, outside = [], []
    height, width = student.shape[2:]
    step_y, step_x = data['inputs'].shape[2] / height, data['inputs'].shape[3] / width
    for i, sample in enumerate(data['data_samples']):
        for row in range(height):
            for column in range(width):
                y, x = (row + 0.5) * step_y, (column + 0.5) * step_x
                error = (student[i, :, row, column] - teacher[i, :, row, column]).square().mean()
                boxes = sample.gt_instances.bboxes.tolist()
                if any(covers(box, x, y, step_x, step_y) for box in boxes):
                    inside.append(error)
                elif y < sample.img_shape[0] and x < sample.img_shape[1]:
                    outside.append(error)
    assert min(len(inside), len(outside)) > 1
    return torch.stack(inside).mean() + BACKGROUND_WEIGHT * torch.stack(outside).mean()


def maps_of(detector, site, data):
    """The first map of student and teacher at a site."""
    found = []
    with torch.no_grad():
        for model in (detector, detector.teacher.model):
            maps = model.backbone(data['inputs'])
            found.append((model.neck(maps) if site == 'fpn' else maps)[0])
    return found


@pytest.mark.parametrize(
    ('config', 'site', 'cls'),
    [(tiny('RetinaNet'), 'fpn', {}), (tiny_detr(), 'fpn', DETR), (tiny_detr(), 'backbone', DETR)],
    ids=['RetinaNet', 'DETR', 'DETR-backbone'],
)
def test_inside_and_outside_of_the_boxes(config, site, cls, tmp_path):
    config.backbone.norm_eval = True
    save(config, tmp_path / 'teacher.pth')
    sites = {site: GATED}
    model = build_detector(distilled(config, config, tmp_path / 'teacher.pth', sites, **cls))
    log = step(model)
    data = model.data_preprocessor(detection_batch(), training=True)
    wanted = expected(*maps_of(model, site, data), data)
    torch.testing.assert_close(
        log[f'distill.{site}.loss_fit_net'], wanted.float(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    ('config', 'site', 'cls'),
    [(tiny('RetinaNet'), 'fpn', {}), (tiny_detr(), 'fpn', DETR), (tiny_detr(), 'backbone', DETR)],
    ids=['RetinaNet', 'DETR', 'DETR-backbone'],
)
def test_the_teachers_judgement_needs_a_box_head(config, site, cls, tmp_path):
    save(config, tmp_path / 'teacher.pth')
    sites = {site: dict(GATED, gate='teacher_right')}
    with pytest.raises(ConfigError, match=rf"distill\.{site}\.gate: 'teacher_right'.*valid: N"):
        build_detector(distilled(config, config, tmp_path / 'teacher.pth', sites, **cls))
