"""The sites at DETR's queries: which rows meet, what they cost, and what is refused."""

import copy
import itertools
import math

import pytest
import torch
from mmengine.config import Config

import btkd_det
from btkd_det.errors import ConfigError
from btkd_det.sites.base import Step
from btkd_det.sites.queries import QueryRecorder, gathered
from tests.conftest import build_detector, detection_batch
from tests.detr import tiny
from tests.single_stage import distilled, save
from tests.single_stage import step as step_with_tensors
from tests.single_stage import tiny as tiny_single_stage

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BINARY = dict(type='btkd_det.BinaryKDLoss')
BTKD = dict(type='btkd_det.BTKDLoss', loss=BINARY, schedule='none')
BOX = dict(type='btkd_det.BoxLoss')
NAMES = ['DETR', 'ConditionalDETR', 'DABDETR', 'DeformableDETR', 'DINO']
SOFTMAX, SIGMOID = 'DETR', 'DABDETR'

pytestmark = pytest.mark.usefixtures('progress')


def step(model):
    """What a step logs, as numbers."""
    return {key: float(value) for key, value in step_with_tensors(model).items()}


def loss_of(name):
    return KD if name == SOFTMAX else BINARY


def config(name, sites, folder, teacher=None, seed=7, **teacher_keys):
    path = folder / 'teacher.pth'
    teacher = teacher or tiny(name)
    save(teacher, path, seed)
    kind = dict(type='btkd_det.DistilledDetector', host=name)
    found = distilled(tiny(name), teacher, path, sites, **kind)
    found['teacher'].update(teacher_keys)
    return found


def build(*args, **kwargs):
    return build_detector(config(*args, **kwargs))


def as_teacher(model):
    """The student with the teacher's weights."""
    model.load_state_dict(model.teacher.model.state_dict(), strict=False)
    return model


def answers(model, batch=None):
    """What is recorded of the student and what the teacher gives for it, layer by layer."""
    data = model.data_preprocessor(batch or detection_batch(), training=True)
    inputs, samples = data['inputs'], data['data_samples']
    with QueryRecorder(model) as recorder, torch.no_grad():
        model.host_loss(inputs, samples)
        recorder.finish(samples)
        work = Step(model.teacher, inputs, samples)
        work.features = model.teacher.features(inputs, samples)
        return [(record, recorder.teacher_outputs(record, work)) for record in recorder.records]


@pytest.mark.parametrize('name', NAMES)
def test_a_step_of_every_relative(name, tmp_path):
    sites = dict(
        query_logits=dict(losses=loss_of(name), layers='all'),
        query_boxes=BOX,
        fpn=dict(type='btkd_det.PKDLoss'),
    )
    model = build(name, sites, tmp_path)
    log = step(model)
    entries = [key for key in log if key.startswith('distill.query')]
    kind = 'kd' if name == SOFTMAX else 'binary_kd'
    expected = [f'distill.query_logits.s{i}.loss_{kind}' for i in (0, 1)]
    expected += [f'distill.query_boxes.s1.{entry}' for entry in ('loss_box', 'right')]
    assert sorted(entries) == sorted(expected)
    assert all(log[key] > 0 for key in entries if 'loss' in key)
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


@pytest.mark.parametrize('name', NAMES)
def test_off_it_is_the_plain_detector_bit_for_bit(name, tmp_path):
    off = build_detector(dict(config(name, {}, tmp_path), teacher=None))
    plain = build_detector(tiny(name))
    assert step(off) == step(plain)
    for (key, ours), (other, theirs) in zip(
        off.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert key == other
        assert torch.equal(ours, theirs)
        assert (ours.grad is None) == (theirs.grad is None)
        assert ours.grad is None or torch.equal(ours.grad, theirs.grad)
    assert list(off.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize('name', NAMES)
def test_a_student_that_is_its_teacher_learns_nothing_where_it_is_right(name, tmp_path):
    sites = dict(
        query_logits=dict(
            losses=[loss_of(name), dict(BTKD, loss=loss_of(name))],
            layers='all',
            unmatched='background',
        ),
        query_boxes=dict(losses=BOX, layers='all'),
    )
    model = as_teacher(build(name, sites, tmp_path))
    losses = step_of_eval(model)
    entries = {kind: [] for kind in ('kd', 'binary_kd', 'btkd', 'box')}
    for key, value in losses.items():
        if '.loss_' in key and key.startswith('distill.'):
            right = losses[key.rpartition('.')[0] + '.right']
            entries[key.rpartition('.loss_')[2]].append((value, right))
    for value, _ in entries['kd'] + entries['binary_kd']:
        assert value == pytest.approx(0, abs=1e-6)
    for value, right in entries['btkd'] + entries['box']:
        assert (value > 1e-6) == (right < 1)
    assert any(right < 1 for _, right in entries['btkd'])


def step_of_eval(model):
    """The distillation of a student without dropout and denoising queries, as its teacher is."""
    found = {}
    for record, outputs in answers_in_eval(model):
        for site in model.distill.values():
            found.update(site.evaluate(record, outputs))
    return {key: float(value) for key, value in found.items()}


def answers_in_eval(model):
    data = model.data_preprocessor(detection_batch(), training=True)
    inputs, samples = data['inputs'], data['data_samples']
    model.eval()
    with QueryRecorder(model) as recorder, torch.no_grad():
        hidden = model.forward_transformer(model.extract_feat(inputs), samples)
        logits, boxes = model.bbox_head(**hidden)
        objects = [sample.gt_instances for sample in samples]
        metas = [sample.metainfo for sample in samples]
        for layer in zip(logits, boxes, strict=True):
            model.bbox_head.get_targets(*map(list, layer), objects, metas)
        recorder.finish(samples)
        work = Step(model.teacher, inputs, samples)
        work.features = model.teacher.features(inputs, samples)
        return [(record, recorder.teacher_outputs(record, work)) for record in recorder.records]


@pytest.mark.parametrize('name', NAMES)
def test_rows_are_of_one_object_each(name, tmp_path):
    model = build(name, dict(query_logits=loss_of(name)), tmp_path)
    found = answers(model.train())
    assert len(found) == 2
    for record, outputs in found:
        # Two objects in each of two images, in the order of the annotations.
        labels = torch.cat([objects.labels for objects in record.objects])
        assert torch.equal(outputs.labels, labels)
        assert record.logits.shape[:2] == outputs.logits.shape[:2] == (2, 12)
        for i, (ours, its, which) in enumerate(outputs.pairs):
            assert which.tolist() == [0, 1]
            assert torch.equal(record.matched[i][ours], which + 1)
            assert torch.equal(outputs.matched[i][its], which + 1)
        height, width = record.metas[0]['img_shape']
        scale = torch.tensor([width, height, width, height])
        x1, y1, x2, y2 = (record.objects[0].bboxes / scale).unbind(1)
        centers = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=1)
        torch.testing.assert_close(outputs.target_boxes[:2], centers)


# Of queries that lie equally near, rounding decides.
@pytest.mark.parametrize(('unmatched', 'rtol'), [('none', 1e-4), ('background', 5e-3)])
@pytest.mark.parametrize('name', [SOFTMAX, SIGMOID])
def test_permuting_the_queries_changes_nothing(name, unmatched, rtol, tmp_path):
    sites = dict(
        query_logits=dict(losses=loss_of(name), layers='all', unmatched=unmatched),
        query_boxes=dict(losses=BOX, layers='all'),
    )
    model = build(name, sites, tmp_path)
    expected = {key: value for key, value in step(model).items() if 'distill' in key}
    for whose in (model, model.teacher.model):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            for parameter in whose.query_embedding.parameters():
                parameter.copy_(parameter[order])
        found = {key: value for key, value in step(model).items() if 'distill' in key}
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=rtol, abs=1e-7), key


def test_denoising_queries_take_no_part(tmp_path):
    model = build('DINO', dict(query_logits=BINARY), tmp_path)
    seen = []
    model.bbox_head.register_forward_hook(lambda module, args, out: seen.append(out[0].shape))
    record, outputs = answers(model.train())[-1]
    assert seen[0][2] > 12
    assert record.logits.shape[1] == outputs.logits.shape[1] == 12


def test_the_encoders_proposals_take_no_part(tmp_path):
    model = build('DeformableDETR', dict(query_logits=BINARY), tmp_path)
    calls = []
    original = model.bbox_head.get_targets
    model.bbox_head.__dict__['get_targets'] = lambda *args: calls.append(args) or original(*args)
    data = model.train().data_preprocessor(detection_batch(), training=True)
    with QueryRecorder(model) as recorder:
        model.host_loss(data['inputs'], data['data_samples'])
        recorder.finish(data['data_samples'])
    assert len(calls) == 3
    assert [len(record.logits[0]) for record in recorder.records] == [12, 12]
    assert [record.stage for record in recorder.records] == [0, 1]


def test_unmatched_queries_are_paired_with_the_nearest(tmp_path):
    model = build(SIGMOID, dict(query_logits=BINARY), tmp_path)
    record, outputs = answers(model.train())[-1]
    for i, (ours, its) in enumerate(outputs.others):
        assert len(ours) == len(its) == 10
        assert not record.matched[i][ours].any()
        assert not outputs.matched[i][its].any()
        gaps = (record.boxes[i][ours][:, None] - outputs.boxes[i][its]).abs().sum(dim=2)
        # Exchanging the partners of any two makes the sum no smaller.
        for a, b in itertools.combinations(range(10), 2):
            assert gaps[a, a] + gaps[b, b] <= gaps[a, b] + gaps[b, a] + 1e-5


def test_unmatched_queries_are_background(tmp_path):
    # A loss that asks how well the boxes fit.
    judged = dict(BTKD, judge='class_and_box')
    model = build(SIGMOID, dict(query_logits=dict(losses=judged, unmatched='background')), tmp_path)
    site = model.distill['query_logits']
    record, outputs = answers(model.train())[-1]
    ours, its, labels = site.inputs(record, outputs)
    extras = site.extras(record, outputs, site[0])
    assert ours.shape == its.shape == (24, 4)
    assert labels[4:].eq(3).all()
    assert labels[:4].lt(3).all()
    assert extras['foreground'].tolist() == [True] * 4 + [False] * 20
    assert not extras['box_ious'][4:].any()
    torch.testing.assert_close(
        ours[4:, :3], gathered(record.logits, [pair[0] for pair in outputs.others])
    )
    torch.testing.assert_close(ours[:, 3], -ours[:, :3].amax(dim=1))


def test_the_teacher_is_judged_by_its_box_too(tmp_path):
    judged = dict(BTKD, judge='class_and_box', iou_threshold=0.0)
    sites = dict(query_logits=[dict(BTKD), judged, dict(judged, iou_threshold=0.99)])
    log = step(build(SIGMOID, sites, tmp_path))
    rates = [log[f'distill.query_logits.s1.right{i}'] for i in ('', '2', '3')]
    assert rates[0] == rates[1] >= rates[2] == 0


def test_the_mean_of_unequal_decoders_is_their_last_layer(tmp_path):
    teacher = tiny(SIGMOID, layers=3)
    model = build(SIGMOID, dict(query_logits=dict(losses=BINARY, layers='all')), tmp_path, teacher)
    (_, first), (_, second) = answers(model.train())
    assert torch.equal(first.logits, second.logits)
    with torch.no_grad():
        data = model.data_preprocessor(detection_batch(), training=True)
        features = model.teacher.model.extract_feat(data['inputs'])
        hidden = model.teacher.model.forward_transformer(features, data['data_samples'])
        expected = model.teacher.model.bbox_head(**hidden)[0]
    assert len(expected) == 3
    torch.testing.assert_close(first.logits, expected[-1])


def test_a_teacher_with_more_queries_and_more_classes(tmp_path):
    teacher = tiny(SIGMOID, queries=20, num_classes=5)
    sites = dict(query_logits=dict(losses=BINARY, unmatched='background'), query_boxes=BOX)
    model = build(SIGMOID, sites, tmp_path, teacher, class_map=[4, 1, 0])
    seen = []
    assigner = model.teacher.model.bbox_head.assigner
    original = assigner.assign
    assigner.assign = lambda **kwargs: seen.append(kwargs) or original(**kwargs)
    record, outputs = answers(model.train())[-1]
    mapped = torch.tensor([4, 1, 0])
    for i, call in enumerate(seen[-2:]):
        assert call['pred_instances'].scores.shape == (20, 5)
        assert torch.equal(call['gt_instances'].labels, mapped[record.objects[i].labels])
    ours, its, _ = model.distill['query_logits'].inputs(record, outputs)
    assert ours.shape == its.shape
    rows = gathered(outputs.logits, [pair[1] for pair in outputs.pairs])
    torch.testing.assert_close(its[: len(rows), :3], rows[:, [4, 1, 0]])


@pytest.mark.parametrize('name', [SOFTMAX, 'DINO'])
def test_images_without_objects(name, tmp_path):
    sites = dict(
        query_logits=dict(losses=[loss_of(name), dict(BTKD, loss=loss_of(name))], layers='all'),
        query_boxes=BOX,
    )
    model = build(name, sites, tmp_path).train()
    batch = detection_batch()
    for sample in batch['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    assert all(value == 0 for key, value in log.items() if 'distill' in key and 'loss' in key)
    assert torch.isfinite(total)


@pytest.mark.parametrize('preset', ['kd', 'btkd', 'btkd-pkd'])
@pytest.mark.parametrize('name', [SOFTMAX, 'DINO'])
def test_presets(preset, name, tmp_path):
    save(tiny(name), tmp_path / 'teacher.pth', 7)
    teacher = dict(config=copy.deepcopy(tiny(name)), checkpoint=str(tmp_path / 'teacher.pth'))
    cfg = btkd_det.distill(Config(dict(model=tiny(name))), teacher, preset)
    model = build_detector(cfg.model)
    losses = [loss for site in model.distill.values() for loss in site]
    hosts = {type(getattr(loss, 'host', loss)).__name__ for loss in losses}
    kind = 'KDLoss' if name == SOFTMAX else 'BinaryKDLoss'
    assert hosts - {'PKDLoss'} == {kind}
    log = step(model)
    assert all(math.isfinite(value) for value in log.values())
    assert sum('distill' in key and 'loss' in key for key in log) == len(losses)


def test_a_training_moves_the_loss(tmp_path):
    sites = dict(query_logits=dict(losses=BINARY, layers='all'), query_boxes=BOX)
    model = build(SIGMOID, sites, tmp_path).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = []
    for _ in range(15):
        data = model.data_preprocessor(detection_batch(), training=True)
        losses = model(**data, mode='loss')
        value = sum(
            part
            for key, part in losses.items()
            if key.startswith('distill.query') and '.loss_' in key
        )
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.75 * values[0]


# -- what is refused

REFUSALS = {
    'a detector without queries': (
        dict(teacher=lambda: tiny_single_stage('RetinaNet')),
        dict(query_logits=KD),
        r'teacher.config: the site query_logits cannot read a RetinaHead: it is no head of DETR',
    ),
    'a head of distinct queries': (
        dict(name='DDQDETR'),
        dict(query_boxes=BOX),
        r'bbox_head: the site query_boxes cannot read a DDQDETRHead: it matches those of its '
        r'queries alone that are distinct; valid: .* DINO, or use the sites fpn',
    ),
    'a softmax and sigmoids': (
        dict(teacher=lambda: tiny(SIGMOID)),
        dict(query_logits=KD),
        r"teacher's head has sigmoids and the student's a softmax",
    ),
    'sigmoids of a softmax': (
        dict(),
        dict(query_logits=[KD, BINARY]),
        r'distill\.query_logits\[1\]\.type: BinaryKDLoss compares sigmoids',
    ),
    'more classes without a map': (
        dict(teacher=lambda: tiny(SOFTMAX, num_classes=4)),
        dict(query_logits=KD),
        r'bbox_head.num_classes is 4 and the student.s 3; valid .*--distill feature',
    ),
    'the classes of IKD': (
        dict(),
        dict(query_logits=dict(type='btkd_det.IKDLoss', num_classes=3)),
        r'distill\.query_logits\.num_classes: got 3; valid: 4',
    ),
    'layers': (
        dict(),
        dict(query_logits=dict(losses=KD, layers='first')),
        r"distill\.query_logits\.layers: got 'first'; valid: 'last', 'all'",
    ),
    'unmatched queries': (
        dict(),
        dict(query_logits=dict(losses=KD, unmatched='all')),
        r"distill\.query_logits\.unmatched: got 'all'; valid: 'none', 'background'",
    ),
    'unmatched queries have no boxes': (
        dict(),
        dict(query_boxes=dict(losses=BOX, unmatched='background')),
        r"distill\.query_boxes: unknown key 'unmatched'",
    ),
    'another kind of loss': (
        dict(),
        dict(query_logits=BOX),
        r"'btkd_det.BoxLoss' cannot stand at query_logits; valid for it here: query_boxes",
    ),
}


@pytest.mark.parametrize('case', REFUSALS)
def test_refused_with_the_reason(case, tmp_path):
    options, sites, words = REFUSALS[case]
    options = dict(options)
    teacher = options.pop('teacher', lambda: None)()
    with pytest.raises(ConfigError, match=words):
        build(options.pop('name', SOFTMAX), sites, tmp_path, teacher)


def test_a_head_that_matches_otherwise_is_named_at_the_first_step(tmp_path):
    model = build(SOFTMAX, dict(query_logits=KD), tmp_path)
    model.bbox_head.loss_by_feat = lambda logits, *args: dict(loss_cls=logits.sum())
    with pytest.raises(ConfigError, match='DETRHead does not match the queries of each decoder'):
        step_with_tensors(model)
    assert 'get_targets' not in vars(model.bbox_head)
    assert 'assign' not in vars(model.bbox_head.assigner)
