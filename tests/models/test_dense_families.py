"""Dense heads whose labels are assigned in a call of their own: the same rows, read right."""

import copy
import math
import types

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import paa_head
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

import btkd_det
from btkd_det.bias import is_right
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.sites.dense import DenseRecorder
from btkd_det.sites.dense_checks import check_known_loss
from btkd_det.sites.dense_readers import by_level, head_logits, reader_of
from tests.conftest import build_detector
from tests.dense_families import CONFIGS, SOFTMAX, tiny
from tests.single_stage import save

BINARY = dict(type='btkd_det.BinaryKDLoss')
KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=BINARY, schedule='none')
NAMES = list(CONFIGS)
OBJECTS = (
    ([[8.0, 8, 72, 72], [100, 100, 180, 186]], [0, 1]),
    ([[90.0, 14, 180, 90]], [2]),
)

pytestmark = pytest.mark.usefixtures('progress')


def batch(model):
    """Two images of 192 x 192 whose objects lie apart."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for boxes, labels in OBJECTS:
        meta = dict(
            img_shape=(192, 192), ori_shape=(192, 192), pad_shape=(192, 192), scale_factor=(1, 1)
        )
        sample = DetDataSample(metainfo=meta)
        masks = np.zeros((len(boxes), 192, 192), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, np.array(boxes, dtype=int), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes),
            labels=torch.tensor(labels),
            masks=BitmapMasks(masks, 192, 192),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, 192, 192), generator=generator, dtype=torch.uint8)
    return model.data_preprocessor(dict(inputs=list(images), data_samples=samples), training=True)


class Mixture:
    """In place of scikit-learn's, which PAA's own loss asks for: the smaller half is likelier."""

    def __init__(self, *args, **kwargs):
        pass

    def fit(self, values):
        self.middle = float(np.median(values))
        return self

    def predict(self, values):
        return (values[:, 0] > self.middle).astype(int)

    def score_samples(self, values):
        return -values[:, 0]


@pytest.fixture(autouse=True)
def _what_hosts_ask_for(monkeypatch, progress):
    # TOOD's head asks the runner for the epoch.
    MessageHub.get_current_instance().update_info('epoch', 5)
    monkeypatch.setattr(paa_head, 'skm', types.SimpleNamespace(GaussianMixture=Mixture))


def host_loss(name):
    return KD if name in SOFTMAX else BINARY


def build(name, sites, folder, seed=7):
    save(tiny(name), folder / 'teacher.pth', seed)
    teacher = dict(config=copy.deepcopy(tiny(name)), checkpoint=str(folder / 'teacher.pth'))
    cfg = btkd_det.distill(Config(dict(model=tiny(name))), teacher, 'feature')
    cfg.model.distill = sites
    return build_detector(cfg.model).train()


def losses_of(model):
    torch.manual_seed(3)
    losses = model(**batch(model), mode='loss')
    total, log = model.parse_losses(losses)
    model.zero_grad()
    total.backward()
    return {key: float(value) for key, value in log.items()}


def recorded(model):
    data = batch(model)
    with DenseRecorder(model) as recorder:
        losses = model.host_loss(data['inputs'], data['data_samples'])
        recorder.finish(data['data_samples'])
    return recorder.records[0], losses


@pytest.mark.parametrize('name', NAMES)
def test_a_step_and_off_the_plain_detector(name, tmp_path):
    sites = dict(dense_logits=[host_loss(name), dict(BTKD, loss=host_loss(name))])
    model = build(name, sites, tmp_path)
    log = losses_of(model)
    entries = {key: value for key, value in log.items() if key.startswith('distill.')}
    assert all(math.isfinite(value) for value in log.values())
    assert all(value > 0 for key, value in entries.items() if '.loss_' in key)
    assert 0 <= entries['distill.dense_logits.right'] <= 1
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    plain = losses_of(build_detector(tiny(name)).train())
    for key in plain.keys() - {'loss'}:
        assert log[key] == plain[key], key
    off = build(name, {}, tmp_path)
    assert losses_of(off) == plain
    reader = reader_of(model.bbox_head)
    assert reader is None or reader.call not in vars(model.bbox_head)


def test_toods_first_epochs_have_another_loss(tmp_path):
    model = build('TOOD', {}, tmp_path)
    later, _ = recorded(model)
    MessageHub.get_current_instance().update_info('epoch', 0)
    first, _ = recorded(model)
    assert first.labels.shape == later.labels.shape
    assert first.foreground.any()


def positions(head, maps, side=192):
    """Image, center x and y, and stride of every row."""
    found = []
    for part in maps:
        count, channels, height, width = part.shape
        anchors = channels // getattr(head, 'cls_out_channels', head.num_classes)
        shape = (count, height, width, anchors)
        image = torch.arange(count)[:, None, None, None].expand(shape)
        y = ((torch.arange(height) + 0.5) * side / height)[None, :, None, None].expand(shape)
        x = ((torch.arange(width) + 0.5) * side / width)[None, None, :, None].expand(shape)
        stride = torch.full(shape, side / width)
        found.append(torch.stack([part.flatten().float() for part in (image, x, y, stride)], 1))
    return torch.cat(found)


@pytest.mark.parametrize('name', NAMES)
def test_a_row_of_an_object_lies_at_it(name, tmp_path):
    model = build(name, {}, tmp_path)
    record, _ = recorded(model)
    assert record.logits.shape == (len(record.labels), 4 if name in SOFTMAX else 3)
    assert torch.equal(
        record.logits, head_logits(model.bbox_head, record.outputs[0])
    ) or torch.allclose(record.logits, head_logits(model.bbox_head, record.outputs[0]))
    rows = positions(model.bbox_head, record.outputs[0])
    shown = record.foreground & record.counted
    assert shown.sum() >= 3
    seen = set()
    for (image, x, y, stride), label in zip(rows[shown], record.labels[shown], strict=True):
        boxes, labels = OBJECTS[int(image)]
        near = [
            kind
            for (x1, y1, x2, y2), kind in zip(boxes, labels, strict=True)
            if x1 - stride <= x <= x2 + stride and y1 - stride <= y <= y2 + stride
        ]
        assert int(label) in near
        seen.add(int(label))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize('name', NAMES)
def test_a_student_that_is_its_teacher_learns_nothing_where_it_is_right(name, tmp_path):
    loss = host_loss(name)
    sites = dict(dense_logits=[loss, dict(BTKD, loss=loss)])
    model = build(name, sites, tmp_path)
    record, _ = recorded(model)
    # As its teacher, in the same mode.
    teacher = head_logits(model.bbox_head, record.outputs[0]).detach()
    site = model.distill['dense_logits']
    ours, _, labels = site.inputs(record, type('Outputs', (), dict(logits=teacher))())
    extras = site.extras(record, None, None)
    assert site[0](ours, ours.detach(), labels, counted=extras['counted']).abs() < 1e-6
    wrong = ours.detach().clone().index_fill_(1, torch.tensor([0]), 9.0)
    assert site[0](ours, wrong, labels, counted=extras['counted']) > 0.1
    # What is corrected costs something exactly where it is wrong.
    btkd, right, ours = site[1], is_right(ours, labels), ours.detach().double()
    assert btkd(ours, ours, labels, counted=extras['counted'] & right).abs() < 1e-12
    rows = (extras['counted'] & ~right).nonzero().squeeze(1)
    assert len(rows) >= 3
    for row in rows[:3]:
        assert btkd(ours, ours, labels, counted=torch.arange(len(labels)) == row) > 1e-8


def test_ssd_counts_what_its_own_loss_counts(tmp_path):
    record, losses = recorded(build('SSD', {}, tmp_path))
    costs = torch.nn.functional.cross_entropy(record.logits, record.labels, reduction='none')
    positive = record.foreground.sum()
    assert (record.counted & ~record.foreground).sum() == 3 * positive
    total = torch.cat(losses['loss_cls']).sum() if isinstance(losses['loss_cls'], list) else 0
    assert (costs[record.counted].sum() / positive).item() == pytest.approx(float(total), rel=1e-4)


@pytest.mark.parametrize('objects', [0, 2])
def test_yolact_counts_what_its_own_loss_counts(objects):
    config = read_config('mmdet::yolact/yolact_r50_1xb8-55e_coco.py', 'test').model
    small = dict(num_classes=3, in_channels=8, feat_channels=8, _scope_='mmdet')
    beside = dict(train_cfg=config.train_cfg, test_cfg=config.test_cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(config.bbox_head, **small, **beside))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 4, generator=generator, requires_grad=True)
    labels, weights = torch.full((20,), 3), torch.ones(20)
    labels[:objects] = 1
    # In the padding.
    weights[-2:] = 0
    args = (logits, torch.zeros(20, 4), torch.rand(20, 4), labels, weights)
    loss, _ = head.OHEMloss_by_feat_single(*args, torch.zeros(20, 4), torch.zeros(20, 4), 1)
    loss.sum().backward()
    told, counted = reader_of(head).read(head, args, None)
    assert torch.equal(told, labels)
    assert torch.equal(counted, logits.grad.abs().sum(dim=1) > 0)
    assert counted.sum() == (18 if objects == 0 else 4 * objects)


@pytest.mark.parametrize('reweighs', [True, False])
def test_pisas_retinanet_counts_every_object_and_what_it_ignores_is_ignored(reweighs, tmp_path):
    model = build('PISA RetinaNet', {}, tmp_path)
    if not reweighs:
        # Then its loss is called once, its rows in another order.
        model.bbox_head.train_cfg.pop('isr')
    targets = []
    original = model.bbox_head.get_targets
    model.bbox_head.get_targets = lambda *args, **kwargs: (
        targets.append(original(*args, **kwargs)) or targets[-1]
    )
    record, _ = recorded(model)
    weights = torch.cat([part.flatten() for part in targets[0][1]])
    assert torch.equal(record.counted, weights > 0)
    assert bool(record.counted[record.foreground].all())
    assert 0 < (~record.counted).sum() < len(record.counted) / 2


def test_yolox_counts_objects_alone(tmp_path):
    record, _ = recorded(build('YOLOX', {}, tmp_path))
    assert torch.equal(record.counted, record.foreground)


def test_paa_has_the_labels_of_its_second_assignment(tmp_path):
    model = build('PAA', {}, tmp_path)
    record, losses = recorded(model)
    from mmcv.ops import sigmoid_focal_loss

    costs = sigmoid_focal_loss(
        record.logits.contiguous(), record.labels, 2.0, 0.25, None, 'none'
    ).sum(dim=1)
    total = costs[record.counted].sum() / max(record.foreground.sum(), 2)
    assert total.item() == pytest.approx(losses['loss_cls'].item(), rel=1e-4)


def test_fsaf_has_the_selected_level_alone(tmp_path):
    record, _ = recorded(build('FSAF', {}, tmp_path))
    left_out = record.foreground & ~record.counted
    assert left_out.any()
    shown = record.foreground & record.counted
    rows = positions(record.head, record.outputs[0])
    for image, label in ((0, 0), (0, 1), (1, 2)):
        mine = shown & (rows[:, 0] == image) & (record.labels == label)
        assert len(rows[mine][:, 3].unique()) == 1


def test_centernet_leaves_out_what_is_near_a_center(tmp_path):
    record, _ = recorded(build('CenterNet', {}, tmp_path))
    assert (record.foreground & record.counted).sum() == 3
    assert 0 < (~record.counted).sum() < len(record.counted) / 2


@pytest.mark.parametrize(('dtype', 'largest'), [(torch.float16, 7.6241), (torch.bfloat16, 5.5413)])
def test_a_probability_that_half_precision_rounds_to_1_is_the_largest_below(dtype, largest):
    head = build_detector(tiny('TOOD')).bbox_head
    logits = torch.tensor([-9.0, 0.0, 3.0, 20.0, 30.0, 40.0]).view(1, 6, 1, 1)
    found = head_logits(head, [logits.sigmoid().to(dtype)]).flatten()
    torch.testing.assert_close(found[:3], logits.flatten()[:3], rtol=0.01, atol=0)
    torch.testing.assert_close(found[3:], torch.full((3,), largest), rtol=1e-4, atol=0)


def test_images_become_levels():
    images = [torch.arange(6), torch.arange(6) + 10]
    assert by_level(images, [4, 2]).tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 4, 5, 14, 15]


@pytest.mark.parametrize('name', ['YOLOX', 'SSD', 'CenterNet'])
def test_images_without_objects(name, tmp_path):
    sites = dict(dense_logits=[host_loss(name), dict(BTKD, loss=host_loss(name))])
    model = build(name, sites, tmp_path)
    data = batch(model)
    for sample in data['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    if name == 'YOLOX':
        assert log['distill.dense_logits.loss_binary_kd'] == 0


@pytest.mark.parametrize(
    ('config', 'reason'),
    [
        ('guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco', 'leaves positions out that seem'),
        ('yolo/yolov3_mobilenetv2_8xb24-320-300e_coco', 'in one map with boxes'),
        ('autoassign/autoassign_r50-caffe_fpn_1x_coco', 'weighs all positions of an object'),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(config, reason):
    head = read_config(f'mmdet::{config}.py', 'test').model.bbox_head
    if 'init_cfg' in head:
        head.init_cfg = None
    with pytest.raises(ConfigError, match=rf'{head.type} does not .*{reason}.*valid: .*YOLOXHead'):
        check_known_loss(MODELS.build(head))
