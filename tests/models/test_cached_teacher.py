"""Cached logits in the place of a running teacher: equal losses, and caches that do not fit."""

import copy

import pytest
import torch
from mmengine.logging import MessageHub

from btkd_det.errors import ConfigError
from btkd_det.models import CachedTeacher
from btkd_det.provenance import config_digest, file_digest
from btkd_det.teacher.cache.gathering import gather
from btkd_det.teacher_cache import describe_images, write_cache
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

SITES = dict(
    logits=[
        dict(type='btkd_det.KDLoss'),
        dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.DKDLoss')),
    ]
)
COUNT = 12


@pytest.fixture(autouse=True)
def hub():
    hub = MessageHub.get_instance('test-cache')
    set_progress(hub, 0.5)
    yield hub
    MessageHub._instance_dict.pop('test-cache')


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp('teacher')
    other = dict(mean=[0.0] * 3, std=[255.0] * 3, to_rgb=True)
    cfg = tiny_resnet(12, **other)
    return dict(config=cfg, checkpoint=save_teacher(folder / 'teacher.pth', cfg))


def header(teacher, **changes):
    digest = file_digest(teacher['checkpoint'])
    of_data = dict(
        dataset='CIFAR100',
        count=COUNT,
        num_classes=NUM_CLASSES,
        classes='',
        labels='',
        images='',
        pixels='[]',
    )
    of_teacher = dict(
        checkpoint=teacher['checkpoint'],
        checkpoint_sha256=digest,
        teacher_config=config_digest(teacher['config']),
        dtype=None,
        class_map=None,
    )
    return {**of_data, **of_teacher, 'views': None, **changes}


def batch(rows):
    whole = image_batch(COUNT)
    return dict(inputs=whole['inputs'][rows], data_samples=[whole['data_samples'][i] for i in rows])


BATCHES = ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11])


@pytest.fixture
def cache(teacher, tmp_path):
    model = build_classifier(distilled_resnet(teacher, SITES))
    logits = gather(model, map(batch, BATCHES), (1, COUNT, NUM_CLASSES))
    path = tmp_path / 'cache.pt'
    write_cache(path, logits, header(teacher))
    return str(path)


@pytest.mark.parametrize('rounded', [False, True])
def test_cached_and_live_teacher_give_equal_losses(teacher, cache, rounded):
    live = build_classifier(distilled_resnet(teacher, SITES))
    if rounded:
        live.teacher.model.head.register_forward_hook(lambda *args: args[2].half())
    from_cache = build_classifier(distilled_resnet(dict(cache=cache), SITES))
    for rows in BATCHES:
        live_losses, live_gradients = one_step(live, batch(rows))
        losses, gradients = one_step(from_cache, batch(rows))
        assert list(losses) == list(live_losses)
        for name in losses:
            if rounded:
                assert torch.equal(losses[name], live_losses[name]), name
            else:
                torch.testing.assert_close(losses[name], live_losses[name], rtol=1e-3, atol=1e-4)
        if rounded:
            assert all(torch.equal(gradients[n], live_gradients[n]) for n in live_gradients)


def test_images_are_found_by_their_index_in_any_order(cache):
    teacher = CachedTeacher(cache)
    samples = image_batch(COUNT)['data_samples']
    chosen = [samples[i] for i in (7, 0, 7, 11)]
    assert torch.equal(teacher.logits_of(chosen, 'cpu'), teacher.logits[0, [7, 0, 7, 11]])


def with_views(views):
    samples = image_batch(len(views))['data_samples']
    for sample, view in zip(samples, views, strict=True):
        sample.set_field(view, 'view', field_type='metainfo')
    return samples


def test_views_are_found_by_their_number(teacher, tmp_path):
    logits = torch.randn(3, COUNT, NUM_CLASSES)
    settings = dict(views=3, view_seed=0, crop_padding=4, flip=0.5)
    write_cache(tmp_path / 'c.pt', logits, header(teacher, views=settings))
    cached = CachedTeacher(str(tmp_path / 'c.pt'))
    expected = logits.half()[[2, 0, 1], [0, 1, 2]]
    assert torch.equal(cached.logits_of(with_views([2, 0, 1]), 'cpu'), expected)
    with pytest.raises(ConfigError, match="no 'view' to look"):
        cached.logits_of(image_batch()['data_samples'], 'cpu')
    with pytest.raises(ConfigError, match="3 entries for 'view'.* number 3"):
        cached.logits_of(with_views([0, 3]), 'cpu')


VIEWS = dict(views=3, view_seed=0, crop_padding=4, flip=0.5)
NAMES = [f'class {i}' for i in range(NUM_CLASSES)]
LABELS = [i % NUM_CLASSES for i in range(COUNT)]


def of_set(samples, names, labels, views, images='images'):
    """The samples, saying of what set they are."""
    image_set = describe_images(names, labels, images, views)
    for sample in samples:
        sample.set_field(image_set, 'image_set', field_type='metainfo')
    return samples


@pytest.fixture
def cached_views(teacher, tmp_path):
    described = describe_images(NAMES, LABELS, 'images', VIEWS)
    logits = torch.randn(3, COUNT, NUM_CLASSES)
    write_cache(tmp_path / 'views.pt', logits, header(teacher, **described))
    return CachedTeacher(str(tmp_path / 'views.pt'))


def test_a_cache_of_the_samples_own_set_is_held_against_it_once(cached_views, monkeypatch):
    samples = of_set(with_views([2, 0]), NAMES, LABELS, VIEWS)
    first = cached_views.logits_of(samples, 'cpu')
    assert torch.equal(first, cached_views.logits[[2, 0], [0, 1]])
    monkeypatch.setattr('btkd_det.teacher.cache.model.check_header', None)
    assert torch.equal(cached_views.logits_of(samples, 'cpu'), first)


@pytest.mark.parametrize(
    ('names', 'labels', 'views', 'words'),
    [
        (NAMES, LABELS, dict(VIEWS, view_seed=77), ['the augmented views', "'view_seed': 77"]),
        (NAMES, LABELS, dict(VIEWS, crop_padding=3), ['the augmented views', "'crop_padding': 3"]),
        (NAMES, LABELS, None, ['the augmented views', 'None here']),
        (NAMES, LABELS + [0], VIEWS, ['the number of images', '12 there, 13 here']),
        (NAMES, LABELS[::-1], VIEWS, ['the labels in their order']),
        (NAMES[::-1], LABELS, VIEWS, ['the class names']),
        (NAMES[1:], LABELS, VIEWS, ['the number of classes', '7 there, 6 here']),
    ],
)
def test_a_cache_of_another_set_is_refused_in_any_runner(cached_views, names, labels, views, words):
    with pytest.raises(ConfigError, match='teacher.cache: .*views.pt was written') as caught:
        cached_views.logits_of(of_set(with_views([0, 1]), names, labels, views), 'cpu')
    for word in words:
        assert word in str(caught.value)


def test_a_cache_of_other_images_is_refused_in_any_runner(cached_views):
    samples = of_set(with_views([0, 1]), NAMES, LABELS, VIEWS, images='others')
    with pytest.raises(ConfigError, match='the images'):
        cached_views.logits_of(samples, 'cpu')


def mended(teacher, **preprocessor):
    config = copy.deepcopy(teacher['config'])
    config['data_preprocessor'].update(preprocessor)
    return config


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: dict(config=mended(t, to_rgb=False)), "the teacher's config"),
        (lambda t: dict(config=mended(t, mean=[1.0, 0.0, 0.0])), "the teacher's config"),
        (lambda t: dict(config=tiny_resnet(16)), "the teacher's config"),
        (lambda t: dict(config=t['config'], dtype='float16'), "the teacher's dtype"),
        (lambda t: dict(dtype='float16'), "the teacher's dtype"),
        (lambda t: dict(class_map=[1, 0, 2, 3, 4, 5, 6]), "the teacher's class_map"),
    ],
    ids=['channels', 'mean', 'network', 'dtype', 'dtype alone', 'classes'],
)
def test_a_cache_of_a_teacher_that_was_mended_since_is_refused(teacher, cache, change, words):
    with pytest.raises(ConfigError, match='c.*was written with another teacher') as caught:
        CachedTeacher(cache, **change(teacher))
    assert words in str(caught.value)


def test_what_only_training_reads_does_not_make_a_cache_stale(teacher, cache):
    config = mended(teacher, batch_augments=dict(type='Mixup', alpha=1.0))
    config['backbone'].update(frozen_stages=1, init_cfg=dict(type='Kaiming'))
    config['head'].update(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1))
    config = dict(config, type='btkd_det.DistilledImageClassifier', teacher=None, distill={})
    CachedTeacher(cache, config=config, checkpoint=teacher['checkpoint'])


def test_the_running_teacher_is_never_built(cache, teacher, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('built')

    monkeypatch.setattr('btkd_det.teacher.frozen.build_model', refuse)
    model = build_classifier(distilled_resnet(dict(teacher, cache=cache), SITES))
    assert not list(model.teacher.parameters())
    assert not list(model.teacher.buffers())
    assert copy.deepcopy(model).teacher is model.teacher
    assert not [key for key in model.state_dict() if 'teacher' in key]


def test_what_a_sample_lacks_is_named(cache):
    samples = image_batch(2)['data_samples']
    samples[1].set_field(None, 'sample_idx', field_type='metainfo')
    with pytest.raises(ConfigError, match="no 'sample_idx'.*PackInputs"):
        CachedTeacher(cache).logits_of(samples, 'cpu')
    with pytest.raises(ConfigError, match="12 entries for 'sample_idx'.* number 12"):
        CachedTeacher(cache).logits_of(image_batch(13)['data_samples'], 'cpu')
    with pytest.raises(ConfigError, match='holds no augmented views'):
        CachedTeacher(cache).logits_of(with_views([0]), 'cpu')


def test_another_checkpoint_is_refused(teacher, cache, tmp_path):
    CachedTeacher(cache, checkpoint=teacher['checkpoint'])
    other = save_teacher(tmp_path / 'other.pth', teacher['config'], seed=8)
    with pytest.raises(ConfigError, match='written with another checkpoint'):
        CachedTeacher(cache, checkpoint=other)
    with pytest.raises(ConfigError, match='teacher.checkpoint: no file'):
        CachedTeacher(cache, checkpoint='no.pth')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(distill=dict(features=dict(type='PKDLoss'))), ['distill.features', 'logits alone']),
        (dict(train_cfg=dict(augments=dict(type='Mixup', alpha=1.0))), ['batch_augments', 'mixes']),
        (dict(teacher=dict(cache='no.pt')), ['teacher.cache', 'no.pt', 'cache_teacher.py']),
        (dict(teacher=dict(cache='no.pt', compile=True)), ["'compile'", 'cache, checkpoint']),
    ],
)
def test_what_a_cache_cannot_serve_is_named(cache, change, words):
    with pytest.raises(ConfigError) as caught:
        build_classifier({**distilled_resnet(dict(cache=cache), SITES), **change})
    for word in words:
        assert word in str(caught.value)


def test_other_classes_are_refused(cache):
    student = tiny_resnet(num_classes=5)
    with pytest.raises(ConfigError, match='teacher: tells 7 classes apart, but the student 5'):
        build_classifier(distilled_resnet(dict(cache=cache), SITES, student))


def test_a_detector_takes_no_cache(student_config, cache):
    from tests.conftest import build_detector

    student_config.update(
        type='btkd_det.DistilledTwoStageDetector', teacher=dict(cache=cache), distill={}
    )
    with pytest.raises(ConfigError, match="teacher: unknown key 'cache'"):
        build_detector(student_config)


def test_images_that_did_not_come_by_are_counted(teacher):
    model = build_classifier(distilled_resnet(teacher, SITES))
    with pytest.raises(ConfigError, match='6 of 12 images did not come by'):
        gather(model, [batch(BATCHES[0])], (1, COUNT, NUM_CLASSES))
