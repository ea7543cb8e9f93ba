"""A linear probe of correctness: with distillation alone, the student becomes its teacher."""

import copy
import json

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

from btkd_det.bias import is_right, rectify
from tests.conftest import build_detector, tiny_faster_rcnn
from tests.models.test_two_stage import distilled
from tests.shared_data import SHARED_DATA, absent

COCO = SHARED_DATA / 'coco_tiny'
SIZE = 96


def images_of_coco(count=4):
    """Real images at 96 x 96 with their first two boxes, three made-up classes."""
    truth = json.loads((COCO / 'annotations' / 'instances_train2017.json').read_text())
    inputs, samples = [], []
    for image in truth['images']:
        boxes = [
            a['bbox']
            for a in truth['annotations']
            if a['image_id'] == image['id'] and min(a['bbox'][2:]) > 60
        ][:2]
        if len(boxes) < 2:
            continue
        pixels = Image.open(COCO / 'train2017' / image['file_name']).convert('RGB')
        pixels = np.asarray(pixels.resize((SIZE, SIZE)))[..., ::-1].copy()
        inputs.append(torch.from_numpy(pixels).permute(2, 0, 1))
        x, y, w, h = (
            torch.tensor(boxes) * torch.tensor([SIZE / image['width'], SIZE / image['height']] * 2)
        ).unbind(1)
        truth_boxes = torch.stack([x, y, x + w, y + h], dim=1)
        sample = DetDataSample(
            metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
        )
        sample.gt_instances = InstanceData(bboxes=truth_boxes, labels=torch.tensor([0, 1]))
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        corners = torch.rand(6, 2) * SIZE / 2
        background = torch.cat([corners, corners + SIZE / 4], dim=1)
        sample.proposals = InstanceData(
            bboxes=torch.cat([truth_boxes, background]), scores=torch.ones(8)
        )
        samples.append(sample)
        if len(samples) == count:
            return dict(inputs=inputs, data_samples=samples)
    raise AssertionError('too few images with two large boxes')


@pytest.mark.skipif(not COCO.is_dir(), reason=absent('real COCO images'))
def test_the_students_logits_become_the_rectified_teachers(tmp_path):
    torch.manual_seed(0)
    batch = images_of_coco()
    config = tiny_faster_rcnn()
    config.backbone.norm_eval = True
    config.rpn_head = None
    teacher = build_detector(config, seed=5)
    torch.nn.init.normal_(teacher.roi_head.bbox_head.fc_cls.weight, std=0.3)
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    host = dict(type='btkd_det.KDLoss', temperature=1.0)
    sites = dict(roi_logits=dict(type='btkd_det.BTKDLoss', loss=host, schedule='none'))
    model = build_detector(distilled(config, config, str(tmp_path / 'teacher.pth'), sites)).train()
    loss_module = model.distill['roi_logits'][0]
    seen = {}
    loss_module.register_forward_pre_hook(lambda module, args: seen.update(args=args))
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = 250
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    errors = []
    for _ in range(steps):
        torch.manual_seed(0)  # the same RoIs in the same order
        losses = model(**_fresh(data), mode='loss')
        distillation = sum(v for k, v in losses.items() if k.startswith('distill.') and 'loss' in k)
        optimizer.zero_grad()
        distillation.backward()
        optimizer.step()
        schedule.step()
        errors.append(_error(*seen['args']))
    right = is_right(*seen['args'][1:])
    assert right.any()
    assert not right.all()
    assert errors[-1] < errors[0] / 100


def _fresh(data):
    return dict(inputs=data['inputs'], data_samples=copy.deepcopy(data['data_samples']))


def _error(student, teacher, labels):
    """Mean squared difference of log-probabilities from the rectified teacher's."""
    target = rectify(teacher, labels, 'swap')
    gap = student.log_softmax(1) - target.log_softmax(1)
    return gap.square().mean().item()
