"""Our losses and sites inside MMRazor: the values of our own models, on the same RoIs."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.runner import Runner

import btkd_det
from btkd_det import preflight
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError
from btkd_det.losses import FeatureLoss, LogitLoss
from btkd_det.registry import registered
from experiments.demo.shapes import CLASSES, ShapesSpec, draw_image, make_shapes
from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmrazor') is None, reason='needs mmrazor: btkd_det[mmrazor]'
)

ROOT = Path(btkd_det.__file__).parents[1]
KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=KD)
SITES = dict(
    roi_logits=[BTKD, dict(type='btkd_det.IKDLoss', num_classes=4)],
    roi_features=dict(type='btkd_det.FitNetLoss', gate='teacher_right'),
    roi_boxes=dict(type='btkd_det.BoxLoss'),
    fpn=dict(losses=dict(type='btkd_det.PKDLoss', levels=(0, 1), loss_weight=6.0), stop_at=0.8),
)


def in_mmrazor(distiller, student=None, teacher=None, algorithm='FpnTeacherDistill', **kwargs):
    """MMRazor's algorithm around a student and a teacher with this distiller."""
    # Its import makes the rest of MMRazor importable, as custom_imports does in a config.
    importlib.import_module('btkd_det.compat.mmrazor')
    return MODELS.build(
        dict(
            type=f'mmrazor.{algorithm}',
            architecture=student or build_detector(tiny_faster_rcnn(), seed=0),
            teacher=teacher or build_detector(tiny_faster_rcnn(width=12, neck=24), seed=7),
            distiller=dict(type='btkd_det.BTKDDistiller', **distiller),
            **kwargs,
        )
    )


def losses_of(model, seed=1):
    model.train()
    data = model.data_preprocessor(detection_batch(), training=True)
    torch.manual_seed(seed)
    losses = model(**data, mode='loss')
    model.parse_losses(losses)[0].backward()
    return losses


def ours(distill, teacher):
    """The distilled detector with the same student, and with the given teacher."""
    return build_detector(
        dict(
            tiny_faster_rcnn(),
            type='btkd_det.DistilledTwoStageDetector',
            teacher=dict(config=teacher),
            distill=distill,
        ),
        seed=0,
    )


@pytest.mark.parametrize('share', [0.0, 0.5, 0.9])
def test_the_losses_and_gradients_are_those_of_the_distilled_detector(progress, share):
    progress(share)
    teacher = build_detector(tiny_faster_rcnn(width=12, neck=24), seed=7)
    plain = ours(SITES, copy.deepcopy(teacher))
    model = in_mmrazor(dict(distill=SITES), teacher=teacher)
    # The adapters begin at random.
    model.distiller.distill.load_state_dict(plain.distill.state_dict())

    expected, losses = losses_of(plain), losses_of(model)

    entries = [name for name in expected if name.startswith('distill.')]
    assert len(entries) > 5
    assert [name for name in losses if name.startswith('distill.')] == entries
    for name in entries:
        assert torch.equal(losses[name], expected[name]), name
    silent = 'distill.fpn.loss_silent'
    assert (silent in losses) == (share > 0.8)
    gradients = {name: p.grad for name, p in model.architecture.named_parameters()}
    for name, parameter in plain.named_parameters():
        if not name.startswith('distill.'):
            torch.testing.assert_close(gradients[name], parameter.grad)


def test_steps_between_are_skipped_there_too(progress):
    model = in_mmrazor(dict(distill=dict(roi_logits=dict(losses=KD, every=2))))
    for share, distilled in ((0.5, True), (0.51, False), (0.52, True)):
        progress(share)
        assert ('distill.roi_logits.loss_kd' in losses_of(model)) is distilled


def test_both_heads_see_the_students_rois(progress):
    model = in_mmrazor(dict(distill=dict(roi_logits=BTKD)))
    rois = []
    for detector in (model.student, model.teacher):
        detector.roi_head.bbox_roi_extractor.register_forward_hook(
            lambda module, args, result: rois.append(args[1])
        )
        detector.rpn_head.register_forward_hook(
            lambda module, args, result, detector=detector: rois.append(detector)
        )
    losses_of(model)
    assert [part for part in rois if part is model.teacher] == []
    _, student, teacher = rois
    assert torch.equal(student, teacher)


def test_a_teacher_that_runs_whole_is_asked_about_the_students_rois_too(progress):
    model = in_mmrazor(dict(distill=dict(roi_logits=KD)), algorithm='SingleTeacherDistill')
    losses = losses_of(model)
    (seen,) = model.distiller.student_recorders.get_recorder('btkd_det.rois').data_buffer
    maps = model.distiller.teacher_recorders.get_recorder('btkd_det.maps').get_record_data()
    with torch.no_grad():
        teacher = model.teacher.roi_head._bbox_forward(maps, seen.rois)['cls_score']
    kd = MODELS.build(KD)(seen.logits, teacher, seen.labels)
    torch.testing.assert_close(losses['distill.roi_logits.loss_kd'], kd)
    assert kd > 0


def test_users_own_recorders_and_mappings_stand_beside(progress):
    maps = dict(mine=dict(type='mmrazor.ModuleOutputs', source='neck'))
    model = in_mmrazor(
        dict(
            distill=dict(roi_logits=KD),
            student_recorders=maps,
            teacher_recorders=maps,
            distill_losses=dict(loss_mine=dict(type='mmrazor.PKDLoss')),
            loss_forward_mappings=dict(
                loss_mine=dict(
                    preds_S=dict(recorder='mine', from_student=True),
                    preds_T=dict(recorder='mine', from_student=False),
                )
            ),
        ),
        teacher=build_detector(tiny_faster_rcnn(width=12), seed=7),
    )
    losses = losses_of(model)
    assert losses['distill.loss_mine'] > 0
    assert losses['distill.roi_logits.loss_kd'] > 0


def test_a_copy_learns_from_its_own_student(progress):
    model = in_mmrazor(dict(distill=SITES))
    copied = copy.deepcopy(model)
    torch.testing.assert_close(losses_of(copied), losses_of(model))
    assert copied.distiller._student is copied.architecture
    parts = {name.split('.')[0] for name in model.state_dict()}
    assert parts == {'architecture', 'teacher', 'distiller'}
    own = [name for name in model.state_dict() if name.startswith('distiller.')]
    assert all(name.startswith('distiller.distill.') for name in own)
    assert 'distiller.distill.fpn.0.adapters.0.weight' in own


@pytest.mark.parametrize(
    ('distill', 'options', 'message'),
    [
        (
            dict(fpn=dict(type='btkd_det.PKDLoss', gate='foreground')),
            {},
            r"^distiller\.distill\.fpn\.gate: 'foreground'.*valid: None",
        ),
        (dict(roi_logits=KD), dict(teacher_trainable=True), 'teacher_trainable: True'),
        (dict(roi_logit=KD), {}, r"^distiller\.distill: unknown site 'roi_logit' .did you mean"),
        (dict(roi_logits=KD), dict(num_classes=5), 'the teacher tells 5 classes apart and the'),
    ],
)
def test_errors_name_the_field(distill, options, message):
    options = dict(options)
    classes = options.pop('num_classes', 3)
    teacher = build_detector(tiny_faster_rcnn(classes, width=12, neck=24), seed=7)
    with pytest.raises(ConfigError, match=message):
        in_mmrazor(dict(distill=distill), teacher=teacher, **options)


def configurable(losses, student_recorders, teacher_recorders, mappings):
    importlib.import_module('btkd_det.compat.mmrazor')
    student = build_detector(tiny_faster_rcnn(), seed=0)
    teacher = build_detector(tiny_faster_rcnn(width=12), seed=7)
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(
            dict(
                type='SingleTeacherDistill',
                architecture=student,
                teacher=teacher,
                distiller=dict(
                    type='ConfigurableDistiller',
                    student_recorders=student_recorders,
                    teacher_recorders=teacher_recorders,
                    distill_losses=losses,
                    loss_forward_mappings=mappings,
                ),
            )
        )


def arguments(name):
    # What a loss cannot do without.
    return dict(num_classes=4) if name == 'IKDLoss' else {}


def logit_losses():
    return [name for name in registered(LogitLoss) if name != 'BinaryKDLoss']


def test_every_logit_loss_takes_part_by_mappings_with_the_runners_progress(progress):
    """And gives what it gives when it is called by hand, here with the teacher's own logits."""
    logits = dict(type='ModuleOutputs', source='roi_head.bbox_head.fc_cls')
    targets = 'mmdet.models.roi_heads.bbox_heads.bbox_head.BBoxHead.get_targets'
    names = logit_losses()
    assert len(names) >= 8
    model = configurable(
        {f'loss_{name}': dict(type=f'btkd_det.{name}', **arguments(name)) for name in names},
        dict(logits=logits, labels=dict(type='MethodOutputs', source=targets)),
        dict(logits=logits),
        {
            f'loss_{name}': dict(
                student_logits=dict(recorder='logits', from_student=True),
                teacher_logits=dict(recorder='logits', from_student=False),
                labels=dict(recorder='labels', from_student=True, data_idx=0),
            )
            for name in names
        },
    )
    losses = losses_of(model)
    student = model.distiller.get_record('logits', from_student=True)
    teacher = model.distiller.get_record('logits', from_student=False)
    labels = model.distiller.get_record('labels', from_student=True, data_idx=0)
    for name in names:
        loss = MODELS.build(dict(type=f'btkd_det.{name}', **arguments(name)))
        expected = loss(student, teacher, labels)
        assert torch.equal(losses[f'distill.loss_{name}'], expected), name
    btkd = model.distiller.distill_losses['loss_BTKDLoss']
    assert btkd.log_vars['gamma'] == 0.5
    progress(0.9)
    losses_of(model)
    assert btkd.log_vars['gamma'] > 0.9


def test_every_feature_loss_takes_part_by_mappings():
    maps = dict(type='ModuleOutputs', source='neck')
    names = registered(FeatureLoss)
    # These have to know the channels before training: a site tells them.
    learned = {'ReviewKDLoss', 'FBKDLoss', 'FGDLoss', 'MGDLoss'}
    assert len(set(names) - learned) >= 4
    model = configurable(
        {f'loss_{name}': dict(type=f'btkd_det.{name}') for name in names},
        dict(maps=maps),
        dict(maps=maps),
        {
            f'loss_{name}': dict(
                student_maps=dict(recorder='maps', from_student=True),
                teacher_maps=dict(recorder='maps', from_student=False),
            )
            for name in set(names) - learned
        },
    )
    losses = losses_of(model)
    for name in set(names) - learned:
        # Two images have one distance, which is its own mean, and no angle.
        alone = name in ('RKDDistanceLoss', 'RKDAngleLoss')
        assert (losses[f'distill.loss_{name}'] > 1e-6) != alone, name


def run_20_steps(cfg, tmp_path):
    """The sum of the losses in each of 20 iterations of a real runner."""
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=20, val_interval=20)
    cfg.param_scheduler = None
    runner = Runner.from_cfg(cfg)
    seen = []
    step = runner.model.train_step

    def train_step(*args, **kwargs):
        seen.append({k: float(v) for k, v in step(*args, **kwargs).items()})
        return seen[-1]

    runner.model.train_step = train_step
    runner.train()
    assert len(seen) == 20
    return seen


def mean_of(steps, name):
    return sum(step[name] for step in steps) / len(steps)


def test_the_detection_config_trains_on_shapes_and_the_loss_falls(tmp_path, monkeypatch):
    make_shapes(tmp_path / 'shapes', ShapesSpec(train=160, val=4, test=1))
    monkeypatch.setenv('SHAPES_ROOT', str(tmp_path / 'shapes'))
    teacher = build_detector(
        Config.fromfile(ROOT / 'configs/shapes/faster-rcnn_r18w32_fpn_5e_shapes.py').model, seed=3
    )
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    cfg = Config.fromfile(
        ROOT / 'configs/mmrazor/btkd-pkd_faster-rcnn_r18w8-r18w32_fpn_5e_shapes.py'
    )
    cfg.model.teacher_ckpt = str(tmp_path / 'teacher.pth')
    cfg.default_hooks.checkpoint = None
    init_default_scope('mmdet')

    steps = run_20_steps(cfg, tmp_path)

    for name in ('loss', 'distill.roi_logits.loss_btkd', 'distill.fpn.loss_pkd'):
        assert mean_of(steps[-5:], name) < 0.9 * mean_of(steps[:5], name), name
    gammas = [step['distill.roi_logits.gamma'] for step in steps]
    assert gammas == sorted(gammas)
    assert gammas[0] == 0
    assert gammas[-1] > 0.9


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ('missing', ['model.teacher_ckpt', 'no.pth']),
        ('architecture', ['model.teacher_ckpt', 'does not fit', 'backbone']),
        (None, []),
    ],
)
def test_a_wrong_teacher_is_named_before_training(wrong, words, tmp_path):
    """MMRazor would go on with whatever weights fit."""
    width = 32 if wrong is None else 8
    plain = ROOT / f'configs/shapes/faster-rcnn_r18w{width}_fpn_5e_shapes.py'
    path = tmp_path / ('no.pth' if wrong == 'missing' else 'teacher.pth')
    if wrong != 'missing':
        torch.save(dict(state_dict=build_detector(Config.fromfile(plain).model).state_dict()), path)
    cfg = Config.fromfile(
        ROOT / 'configs/mmrazor/btkd-pkd_faster-rcnn_r18w8-r18w32_fpn_5e_shapes.py'
    )
    cfg.model.teacher_ckpt = str(path)
    if wrong is None:
        model = preflight.check_model(cfg)
        saved = torch.load(path, weights_only=True)['state_dict']
        assert torch.equal(model.teacher.backbone.conv1.weight, saved['backbone.conv1.weight'])
        return
    with pytest.raises(ConfigError) as caught:
        preflight.check_model(cfg)
    for word in words:
        assert word in str(caught.value)


def folder_of_crops(folder, count=160):
    """Single shapes of 32 x 32 pixels, a folder for each class."""
    spec = ShapesSpec(train=count)
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
    made = number = 0
    while made < count:
        number += 1
        image, objects = draw_image(spec, 'train', number)
        for found in objects[:2]:
            x, y, w, h = found['bbox']
            crop = image.crop((x, y, x + w, y + h)).resize((32, 32))
            crop.save(folder / CLASSES[found['category_id'] - 1] / f'{made}.png')
            made += 1


def classification_config(folder, name):
    cfg = read_config(name, 'test')
    dataset = dict(
        type='CustomDataset',
        data_root=str(folder / 'shapes'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    for loader in ('train_dataloader', 'val_dataloader'):
        cfg[loader].update(num_workers=0, persistent_workers=False)
        cfg[loader].dataset = dataset
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.optim_wrapper.optimizer.lr = 0.05
    student = cfg.model.get('architecture', cfg.model)
    student.backbone.update(base_channels=8, stem_channels=8)
    student.head.in_channels = 64
    return cfg


def test_the_classification_config_trains_on_shapes_and_the_loss_falls(tmp_path):
    pytest.importorskip('mmpretrain', reason='needs mmpretrain: btkd_det[classification]')
    folder_of_crops(tmp_path / 'shapes')
    plain = classification_config(tmp_path, 'mmpretrain::resnet/resnet18_8xb16_cifar10.py')
    plain.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=20)
    run_20_steps(plain, tmp_path / 'teacher')
    cfg = classification_config(
        tmp_path, str(ROOT / 'configs/mmrazor/btkd_resnet18-resnet34_8xb16_cifar10.py')
    )
    cfg.model.teacher = copy.deepcopy(cfg.model.architecture)
    cfg.model.teacher_ckpt = str(tmp_path / 'teacher/work/iter_20.pth')

    steps = run_20_steps(cfg, tmp_path / 'student')

    for name in ('loss', 'student.loss'):
        assert mean_of(steps[-5:], name) < 0.95 * mean_of(steps[:5], name), name
    assert steps[0]['distill.loss_btkd'] > 0
