"""The distilled classifier: values at its sites, mixed labels, the teacher as a guest."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from torch.nn import functional as F

from btkd_det.bias import is_right
from btkd_det.errors import ConfigError
from btkd_det.losses import BTKDLoss, KDLoss, PKDLoss
from btkd_det.models import Teacher
from tests.classifiers import (
    NUM_CLASSES,
    build_classifier,
    distilled_resnet,
    image_batch,
    one_step,
    save_teacher,
    set_progress,
    tiny_resnet,
)

KD = dict(type='btkd_det.KDLoss', temperature=4.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=KD)
DKD = dict(type='btkd_det.DKDLoss')
IKD = dict(type='btkd_det.IKDLoss', num_classes=NUM_CLASSES, collect_iters=1)
MIXUP = dict(augments=dict(type='Mixup', alpha=1.0))


@pytest.fixture(autouse=True)
def hub():
    hub = MessageHub.get_instance('test-classifier')
    set_progress(hub, 0.5)
    yield hub
    MessageHub._instance_dict.pop('test-classifier')


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    return dict(config=tiny_resnet(12), checkpoint=save_teacher(path, tiny_resnet(12)))


def own_logits(model, batch):
    """What a plain forward in training mode gives, and its preprocessed data."""
    data = model.data_preprocessor(copy.deepcopy(batch), training=False)
    return model.head(model.extract_feat(data['inputs'])), data


def test_a_teacher_knows_how_many_classes_it_tells_apart():
    assert Teacher(tiny_resnet(num_classes=5)).num_classes == 5


def test_without_sites_it_is_the_plain_classifier_bit_for_bit(teacher):
    plain = build_classifier(tiny_resnet())
    with_teacher = build_classifier(distilled_resnet(teacher, {}))
    losses, gradients = one_step(plain)
    ours, our_gradients = one_step(with_teacher)
    assert list(ours) == list(losses)
    assert torch.equal(ours['loss'], losses['loss'])
    assert list(our_gradients) == list(gradients)
    assert all(torch.equal(our_gradients[name], gradients[name]) for name in gradients)


def test_the_students_own_loss_is_the_plain_classifiers_beside_any_site(teacher):
    plain, _ = one_step(build_classifier(tiny_resnet()))
    sites = dict(logits=[KD, BTKD, IKD], features=dict(type='btkd_det.PKDLoss'))
    model = build_classifier(distilled_resnet(teacher, sites))
    losses, _ = one_step(model)
    assert torch.equal(losses['loss_cls'], plain['loss'])
    total, log = model.parse_losses(losses)
    terms = [value for name, value in losses.items() if 'loss' in name]
    assert len(terms) == 5
    torch.testing.assert_close(total, sum(terms))
    assert log['loss'] == total


def test_the_logits_are_compared_as_the_losses_say(teacher):
    sites = dict(logits=[KD, BTKD, dict(type='btkd_det.BTKDLoss', loss=DKD)])
    model = build_classifier(distilled_resnet(teacher, sites))
    losses, _ = one_step(model)
    student, data = own_logits(build_classifier(tiny_resnet()).train(), image_batch())
    guest = model.teacher.model
    said = guest.head(guest.extract_feat(data['inputs']))
    labels = torch.cat([sample.gt_label for sample in data['data_samples']])
    expected = KDLoss(temperature=4.0)(student, said, labels)
    torch.testing.assert_close(losses['distill.logits.loss_kd'], expected)
    for key, host in (('loss_btkd', KD), ('loss_btkd2', DKD)):
        expected = BTKDLoss(loss=host)(student, said, labels, progress=0.5)
        torch.testing.assert_close(losses[f'distill.logits.{key}'], expected)
    assert losses['distill.logits.right'] == is_right(said, labels).float().mean()


def test_the_maps_are_the_backbones(teacher):
    student = tiny_resnet(out_indices=(1, 3))
    teacher = dict(teacher, config=tiny_resnet(12, out_indices=(1, 3)))
    sites = dict(features=dict(type='btkd_det.PKDLoss', levels=(1,)))
    model = build_classifier(distilled_resnet(teacher, sites, student))
    adapter = model.distill['features'][0].adapters['1']
    assert adapter.weight.shape == (96, 64, 1, 1)
    losses, gradients = one_step(model)
    plain = build_classifier(student).train()
    data = plain.data_preprocessor(image_batch(), training=True)
    maps = adapter(plain.backbone(data['inputs'])[1])
    said = model.teacher.model.backbone(data['inputs'])[1]
    expected = PKDLoss()((maps,), (said,))
    torch.testing.assert_close(losses['distill.features.loss_pkd'], expected)
    assert gradients['distill.features.0.adapters.1.weight'].abs().sum() > 0


def test_a_last_map_alone_is_compared_with_its_counterpart(teacher):
    model = build_classifier(distilled_resnet(teacher, dict(features=dict(type='FitNetLoss'))))
    losses, _ = one_step(model)
    assert list(model.distill['features'][0].adapters) == ['0']
    assert losses['distill.features.loss_fit_net'] > 0


def test_both_models_run_once(teacher):
    sites = dict(logits=[KD, BTKD], features=dict(type='PKDLoss'))
    model = build_classifier(distilled_resnet(teacher, sites))
    calls = []
    for part in (model, model.teacher.model):
        for name in ('backbone', 'neck', 'head'):
            getattr(part, name).register_forward_hook(lambda *args, n=name: calls.append(n))
    one_step(model)
    assert sorted(calls) == sorted(['backbone', 'neck', 'head'] * 2)


def test_a_teacher_with_the_students_weights_leaves_btkd_what_it_gets_wrong(tmp_path):
    """In eval mode, so that normalization is the same in both."""
    cfg = tiny_resnet()
    teacher = dict(config=tiny_resnet(), checkpoint=save_teacher(tmp_path / 't.pth', cfg, seed=0))
    model = build_classifier(distilled_resnet(teacher, dict(logits=[KD, BTKD]))).eval()
    batch = image_batch(12)
    logits, data = own_logits(model, batch)
    labels = torch.cat([sample.gt_label for sample in data['data_samples']])
    labels[:4] = logits[:4].argmax(dim=1)
    labels[4:] = (logits[4:].argmax(dim=1) + 1) % NUM_CLASSES
    for rows, positive in ((slice(0, 4), False), (slice(4, 12), True), (slice(0, 12), True)):
        samples = data['data_samples'][rows]
        for sample, label in zip(samples, labels[rows], strict=True):
            sample.set_gt_label(label)
        losses = model.loss(data['inputs'][rows], samples)
        assert losses['distill.logits.loss_kd'].abs() < 1e-6
        assert (losses['distill.logits.loss_btkd'] > 1e-3) == positive
    right = losses['distill.logits.right']
    assert right == is_right(logits, labels).float().mean() == 4 / 12
    assert losses['distill.logits.easy'] < 1e-6 < losses['distill.logits.hard']


def test_btkd_and_ikd_together(teacher, hub):
    sites = dict(logits=[dict(BTKD, loss=DKD), IKD])
    model = build_classifier(distilled_resnet(teacher, sites))
    losses, _ = one_step(model)
    assert losses['distill.logits.loss_btkd'] > 0
    assert losses['distill.logits.loss_ikd'] == 0
    hub.update_info('iter', 51)
    losses, gradients = one_step(model)
    assert losses['distill.logits.loss_ikd'] > 0
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    table = model.distill['logits'][1].class_means
    assert 'distill.logits.1.class_means' in model.state_dict()
    assert table.abs().sum() > 0


def test_a_site_falls_silent(teacher, hub):
    sites = dict(logits=dict(losses=KD, stop_at=0.4), features=dict(type='PKDLoss'))
    losses, _ = one_step(build_classifier(distilled_resnet(teacher, sites)))
    assert 'distill.logits.loss_kd' not in losses
    assert 'distill.features.loss_pkd' in losses


def mixed(shares, batch):
    """Give a preprocessed batch soft labels: each row ``{class: share}``."""
    for sample, row in zip(batch['data_samples'], shares, strict=True):
        score = torch.zeros(NUM_CLASSES)
        for label, share in row.items():
            score[label] = share
        sample.set_gt_score(score)
    return batch


SHARES = [{0: 0.7, 1: 0.3}, {2: 1.0}, {3: 0.2, 4: 0.8}, {5: 1.0}, {6: 1.0}, {1: 0.5, 0: 0.5}]


def test_mixed_rows_are_judged_by_the_larger_share(teacher):
    model = build_classifier(distilled_resnet(teacher, dict(logits=BTKD))).eval()
    data = mixed(SHARES, model.data_preprocessor(image_batch()))
    losses = model.loss(**data)
    student = model.head(model.extract_feat(data['inputs']))
    guest = model.teacher.model
    said = guest.head(guest.extract_feat(data['inputs']))
    expected = BTKDLoss(loss=KD)(student, said, torch.tensor([0, 2, 4, 5, 6, 0]), progress=0.5)
    torch.testing.assert_close(losses['distill.logits.loss_btkd'], expected)


@pytest.mark.parametrize('shares', [SHARES, [{i: 1.0} for i in range(6)]])
def test_dropping_is_as_if_the_batch_had_only_the_others(teacher, shares):
    sites = dict(
        logits=[dict(BTKD, trust='measured'), dict(type='DISTLoss'), IKD],
        features=dict(type='PKDLoss'),
    )
    cfg = distilled_resnet(teacher, sites, mixed='drop')
    kept = [i for i, row in enumerate(shares) if len(row) == 1]
    pair = [build_classifier(cfg).eval() for _ in range(2)]
    for model in pair:
        model.distill.train()
    data = mixed(shares, pair[0].data_preprocessor(image_batch()))
    losses = pair[0].loss(**data)
    few = pair[1].loss(data['inputs'][kept], [data['data_samples'][i] for i in kept])
    assert {name for name in losses if '.loss_' in name} == {
        f'distill.{name}'
        for name in ('logits.loss_btkd', 'logits.loss_dist', 'logits.loss_ikd', 'features.loss_pkd')
    }
    for name in losses:
        if name != 'loss_cls':
            torch.testing.assert_close(losses[name], few[name])
    states = [model.distill.state_dict() for model in pair]
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name])


def test_a_batch_of_mixed_rows_alone_costs_an_exact_0_that_has_a_gradient(teacher):
    sites = dict(
        logits=[BTKD, IKD, dict(type='DISTLoss')],
        features=[dict(type='PKDLoss'), dict(type='FitNetLoss')],
    )
    model = build_classifier(distilled_resnet(teacher, sites, mixed='drop'))
    data = mixed([{0: 0.6, 1: 0.4}] * 6, model.data_preprocessor(image_batch()))
    losses = model.loss(**data)
    terms = [
        value for name, value in losses.items() if name.startswith('distill.') and 'loss' in name
    ]
    assert len(terms) == 5
    assert all(term == 0 for term in terms)
    sum(terms).backward()
    missing = [n for n, p in model.distill.named_parameters() if p.grad is None]
    assert not missing
    assert model.head.fc.weight.grad.abs().sum() == 0


@pytest.mark.parametrize('option', ['larger', 'drop'])
def test_mixup_runs_a_step(teacher, option):
    student = dict(tiny_resnet(), train_cfg=MIXUP)
    student['head']['loss'] = dict(type='CrossEntropyLoss', use_soft=True)
    cfg = distilled_resnet(teacher, dict(logits=BTKD), student, mixed=option)
    losses, gradients = one_step(build_classifier(cfg), image_batch(16))
    assert losses['loss_cls'] > 0
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert losses['distill.logits.loss_btkd'] > 0


def test_the_teacher_sees_the_images_as_it_was_trained_to(tmp_path):
    other = dict(mean=[0.0, 10.0, 20.0], std=[255.0, 250.0, 245.0], to_rgb=True)
    cfg = tiny_resnet(12, **other)
    teacher = dict(config=cfg, checkpoint=save_teacher(tmp_path / 't.pth', cfg))
    model = build_classifier(distilled_resnet(teacher, dict(logits=KD))).eval()
    seen = []
    model.teacher.model.backbone.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    model.loss(**model.data_preprocessor(image_batch()))
    own = model.teacher.model.data_preprocessor(image_batch())['inputs']
    torch.testing.assert_close(seen[0], own, atol=1e-5, rtol=1e-5)


def test_a_class_map_picks_the_students_classes(tmp_path):
    cfg = tiny_resnet(12, num_classes=10)
    teacher = dict(config=cfg, checkpoint=save_teacher(tmp_path / 't.pth', cfg))
    order = [9, 1, 2, 4, 3, 0, 7]
    model = build_classifier(distilled_resnet(dict(teacher, class_map=order), dict(logits=KD)))
    losses = model.eval().loss(**(data := model.data_preprocessor(image_batch())))
    guest = model.teacher.model
    said = guest.head(guest.extract_feat(data['inputs']))[:, order]
    student = model.head(model.extract_feat(data['inputs']))
    expected = KDLoss(temperature=4.0)(student, said)
    torch.testing.assert_close(losses['distill.logits.loss_kd'], expected)


def test_a_teacher_without_parts_gives_its_logits(teacher):
    """As MMPretrain's TimmClassifier: no backbone, no head, a forward that gives logits."""

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, NUM_CLASSES)

        def forward(self, inputs):
            return self.layer(inputs.mean(dim=(2, 3)))

    whole = Whole()
    model = build_classifier(distilled_resnet(dict(config=whole), dict(logits=KD))).eval()
    losses = model.loss(**(data := model.data_preprocessor(image_batch())))
    student = model.head(model.extract_feat(data['inputs']))
    images = model.teacher.images(data['inputs'])
    torch.testing.assert_close(
        losses['distill.logits.loss_kd'], KDLoss(temperature=4.0)(student, whole(images))
    )
    with pytest.raises(ConfigError, match=r'distill.features: Whole has no backbone'):
        build_classifier(
            distilled_resnet(dict(config=Whole()), dict(features=dict(type='PKDLoss')))
        )


def test_a_backbone_of_timm():
    timm = dict(tiny_resnet(), neck=dict(type='mmpretrain.GlobalAveragePooling'))
    timm['backbone'] = dict(
        type='mmpretrain.TIMMBackbone', model_name='resnet10t', features_only=True
    )
    timm['head']['in_channels'] = 512
    sites = dict(logits=BTKD, features=dict(type='PKDLoss', levels=(0,)))
    model = build_classifier(distilled_resnet(dict(config=copy.deepcopy(timm)), sites, timm))
    losses, gradients = one_step(model)
    assert losses['distill.features.loss_pkd'] >= 0
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_neither_checkpoint_nor_average_holds_the_teacher(teacher):
    sites = dict(logits=BTKD, features=dict(type='PKDLoss'))
    model = build_classifier(distilled_resnet(teacher, sites))
    plain = build_classifier(tiny_resnet())
    keys = [key for key in model.state_dict() if not key.startswith('distill.')]
    assert keys == list(plain.state_dict())
    guests = {id(p) for p in model.teacher.parameters()}
    assert guests
    assert not guests & {id(p) for p in model.parameters()}
    average = ExponentialMovingAverage(model)
    assert average.module.teacher is model.teacher
    assert not guests & {id(p) for p in average.parameters()}


TWO_PROCESSES = """
import os, sys, torch
from mmengine.model import MMDistributedDataParallel
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from tests.classifiers import build_classifier, distilled_resnet, image_batch, set_progress
from tests.classifiers import tiny_resnet
from tests.models.test_classifier import BTKD

torch.distributed.init_process_group('gloo')
rank = torch.distributed.get_rank()
set_progress(MessageHub.get_instance('ddp'), 0.5)
sites = dict(logits=BTKD, features=dict(type='PKDLoss'))
teacher = dict(config=tiny_resnet(12), checkpoint=sys.argv[1])
student = tiny_resnet()
student['head']['loss'] = dict(type='mmpretrain.CrossEntropyLoss', use_soft=True)
student['data_preprocessor']['to_onehot'] = True
model = build_classifier(distilled_resnet(teacher, sites, student, mixed='drop'))
ddp = MMDistributedDataParallel(model, find_unused_parameters=False)
assert not {id(p) for p in model.teacher.parameters()} & {id(p) for p in ddp.parameters()}
assert not any('teacher' in key for key in ddp.state_dict())
ddp.train()
wrapper = OptimWrapper(torch.optim.SGD(ddp.parameters(), lr=0.01))
for step in range(2):
    batch = image_batch(seed=10 * step + rank)
    if rank == 0:
        for sample in batch['data_samples']:
            sample.set_gt_score(torch.tensor([0.6, 0.4, 0, 0, 0, 0, 0]))
    log = ddp.train_step(batch, wrapper)
vector = torch.cat([p.detach().flatten() for p in model.parameters()])
both = [torch.zeros_like(vector) for _ in range(2)]
torch.distributed.all_gather(both, vector)
assert torch.equal(both[0], both[1])
# In one piece: both write to one pipe.
print(f'rank {rank} same weights {log["distill.features.loss_pkd"].item() > 0}', flush=True)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
# Without the interpreter's own end, at which gloo's threads abort it once in a while.
os._exit(0)
"""


def test_two_processes_of_which_one_drops_all_rows(teacher, tmp_path):
    script = tmp_path / 'train.py'
    script.write_text(TWO_PROCESSES)
    command = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    process = subprocess.run(
        [sys.executable, *command, str(script), teacher['checkpoint']],
        env=dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]), OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert 'rank 0 same weights False' in process.stdout
    assert 'rank 1 same weights True' in process.stdout


def test_autocast_gives_nearly_the_same_losses(teacher):
    cfg = distilled_resnet(teacher, dict(logits=KD, features=dict(type='PKDLoss')))
    exact, _ = one_step(build_classifier(cfg))
    model = build_classifier(cfg)
    with torch.autocast('cpu', torch.bfloat16):
        half, _ = one_step(model)
    assert half['distill.logits.loss_kd'].dtype == torch.float32
    for name in ('logits.loss_kd', 'features.loss_pkd'):
        torch.testing.assert_close(
            half[f'distill.{name}'], exact[f'distill.{name}'], rtol=0.1, atol=0
        )


def multi_label():
    student = tiny_resnet()
    student['head']['type'] = 'mmpretrain.MultiLabelLinearClsHead'
    return student


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(mixed='both'), ['mixed', "'both'", 'larger, drop']),
        (dict(distill=dict(fpn=KD)), ["'fpn'", 'logits, features']),
        (dict(distill=dict(features=KD)), ['distill.features', 'here: logits', 'PKDLoss']),
        (
            dict(distill=dict(features=dict(type='PKDLoss', gate='foreground'))),
            ['distill.features.gate', "'foreground'", 'None'],
        ),
        (
            dict(distill=dict(logits=dict(type='BTKDLoss', judge='class_and_box'))),
            ['distill.logits.judge', 'boxes', "'class'"],
        ),
        (
            dict(distill=dict(logits=dict(type='IKDLoss', num_classes=10))),
            ['distill.logits.num_classes', '10', 'valid: 7'],
        ),
        (
            dict(distill=dict(features=dict(type='PKDLoss', adapter=None))),
            ['distill.features.adapter', '96'],
        ),
        (dict(teacher=None), ['teacher', 'missing', 'logits']),
        (dict(teacher=dict(config=tiny_resnet(12), chekpoint='x')), ["'chekpoint'", 'checkpoint']),
        (
            dict(teacher=dict(config=tiny_resnet(num_classes=5))),
            ['teacher', '5 classes', 'the student 7', 'class_map', '--distill feature'],
        ),
        (
            dict(teacher=dict(config=tiny_resnet(), class_map=[0, 1, 2, 3, 4, 5, 7])),
            ['teacher.class_map', '0 to 6'],
        ),
    ],
)
def test_what_cannot_work_is_named(teacher, change, words):
    cfg = distilled_resnet(teacher, dict(logits=KD))
    cfg.update(copy.deepcopy(change))
    with pytest.raises(ConfigError) as caught:
        build_classifier(cfg)
    for word in words:
        assert word in str(caught.value)


def test_several_labels_for_an_image_are_refused(teacher):
    with pytest.raises(ConfigError, match=r'distill.logits: MultiLabelLinearClsHead.*several'):
        build_classifier(distilled_resnet(teacher, dict(logits=KD), multi_label()))


def test_a_head_with_a_margin_in_training_is_refused(teacher):
    head = dict(type='mmpretrain.ArcFaceClsHead', num_classes=7, in_channels=64)
    student = dict(tiny_resnet(), head=head)
    with pytest.raises(ConfigError, match=r'distill.logits: .*ArcFaceClsHead.*margin.*features'):
        build_classifier(distilled_resnet(teacher, dict(logits=KD), student))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_in_another_precision_counts_and_what_is_learned_lose_nothing(hub, tmp_path, dtype):
    wide = tiny_resnet(width=12)
    teacher = dict(config=wide, checkpoint=save_teacher(tmp_path / 'wide.pth', wide))
    robust = dict(
        BTKD,
        rectify=dict(type='posterior', label_noise='estimated'),
        schedule='none',
        trust='relative',
        calibrate=True,
    )
    features = ['PKDLoss', 'FitNetLoss', 'MGDLoss', 'ReviewKDLoss']
    sites = dict(logits=[robust, IKD], features=[dict(type=name) for name in features])
    model = build_classifier(distilled_resnet(teacher, sites)).train()
    before = {name: part.dtype for name, part in model.distill.state_dict().items()}
    one_step(model)
    model.to(dtype)
    for name, part in model.distill.state_dict().items():
        wider = dtype is torch.float64 and before[name].is_floating_point
        assert part.dtype == (dtype if wider else before[name]), name
    assert next(model.backbone.parameters()).dtype == dtype
    data = model.data_preprocessor(image_batch(), training=True)
    losses = model(data['inputs'].to(dtype), data['data_samples'], mode='loss')
    found = {key: value for key, value in losses.items() if '.loss_' in key}
    assert len(found) == 6
    assert all(value.isfinite() for value in found.values())
    model.parse_losses(losses)[0].backward()


def test_tokens_are_no_maps():
    vit = dict(
        tiny_resnet(),
        backbone=dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
            img_size=32,
            patch_size=8,
        ),
        neck=None,
        head=dict(type='mmpretrain.VisionTransformerClsHead', num_classes=7, in_channels=16),
    )
    with pytest.raises(ConfigError, match=r'model.backbone: gives no maps'):
        build_classifier(
            distilled_resnet(dict(config=tiny_resnet()), dict(features=dict(type='PKDLoss')), vit)
        )
    model = build_classifier(distilled_resnet(dict(config=tiny_resnet()), dict(logits=BTKD), vit))
    losses, _ = one_step(model)
    assert losses['distill.logits.loss_btkd'] > 0


def test_building_leaves_modes_and_random_numbers_as_they_were(teacher):
    cfg = distilled_resnet(teacher, dict(logits=KD, features=dict(type='PKDLoss')))
    model = build_classifier(cfg)
    after = torch.rand(1)
    plain = build_classifier(tiny_resnet())
    assert torch.equal(after, torch.rand(1))
    assert all(module.training for module in model.modules())
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    assert F.softmax(model.head.fc.weight, dim=1).isfinite().all()
