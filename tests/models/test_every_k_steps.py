"""A site that distills in one step of k: which steps, what they weigh, what the others cost."""

import pytest
import torch
from mmengine.logging import MessageHub

from btkd_det.errors import ConfigError
from btkd_det.models.distilled import Sites
from btkd_det.progress import StepCount
from btkd_det.registry import SITES
from tests.conftest import build_detector
from tests.models.test_two_stage import distilled, one_step

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
PKD = dict(type='btkd_det.PKDLoss')
LOSSES = dict(
    LogitLoss='btkd_det.KDLoss',
    FeatureLoss='btkd_det.PKDLoss',
    BoxLoss='btkd_det.BoxLoss',
    DistributionLoss='btkd_det.DistributionLoss',
)


@pytest.fixture
def runner():
    """Tells the iteration of a runner that trains for 100."""
    hub = MessageHub.get_instance('test-every')
    hub.update_info('max_iters', 100)
    hub.update_info('max_epochs', 10)
    return lambda iteration: hub.update_info('iter', iteration)


@pytest.fixture
def build(student_config, teacher_config, teacher_checkpoint):
    def model(**sites):
        found = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, sites))
        found.looks = []
        found.teacher.model.backbone.register_forward_hook(lambda *args: found.looks.append(1))
        return found

    return model


def entries(log):
    return {key.removeprefix('distill.') for key in log if '.loss_' in key}


def test_the_step_it_takes_weighs_k_times_as_much(build, runner):
    whole, third = build(roi_logits=KD), build(roi_logits=dict(losses=KD, every=3))
    name = 'distill.roi_logits.loss_kd'
    for iteration in (0, 3, 99):
        runner(iteration)
        (_, log, _), (_, expected, _) = one_step(third), one_step(whole)
        torch.testing.assert_close(log[name], 3 * expected[name])
        torch.testing.assert_close(log['loss'], expected['loss'] + 2 * expected[name])


def test_the_steps_between_are_those_of_the_plain_model(build, runner, student_config):
    model, plain = build(roi_logits=dict(losses=KD, every=3)), build_detector(student_config)
    for iteration in (1, 2, 4, 98):
        runner(iteration)
        _, log, grads = one_step(model)
        _, expected, plain_grads = one_step(plain)
        assert list(log) == list(expected)
        assert all(torch.equal(log[key], expected[key]) for key in log)
        assert all(torch.equal(grads[key], plain_grads[key]) for key in plain_grads)
    assert model.looks == []


def test_each_site_has_its_own_steps(build, runner):
    model = build(
        roi_logits=dict(losses=KD, every=2),
        fpn=dict(losses=PKD, every=3),
        roi_boxes=dict(losses=dict(type='btkd_det.BoxLoss'), every=4, stop_at=0.06),
    )
    seen = []
    for iteration in range(7):
        runner(iteration)
        model.looks.clear()
        _, log, grads = one_step(model)
        seen.append((entries(log), len(model.looks)))
        # Distributed training waits for every parameter: adapters have a gradient, if only 0.
        adapters = [grads[name] for name in grads if name.startswith('distill.fpn')]
        assert len(adapters) > 0
        assert all(grad is not None for grad in adapters)
        assert any(bool(grad.any()) for grad in adapters) == (iteration % 3 == 0)
    rois, boxes, maps = 'roi_logits.loss_kd', 'roi_boxes.loss_box', 'fpn.loss_pkd'
    skipped = 'fpn.loss_skipped'
    assert seen == [
        ({rois, boxes, maps}, 1),
        ({skipped}, 0),
        ({rois, skipped}, 1),
        ({maps}, 1),
        ({rois, boxes, skipped}, 1),
        ({skipped}, 0),
        ({rois, maps}, 1),
    ]


def test_skipped_steps_leave_the_log_and_silence_takes_it(build, runner):
    model = build(fpn=dict(losses=PKD, every=2, stop_at=0.5))
    scalars = MessageHub.get_current_instance().log_scalars
    for iteration in (48, 49, 50):
        runner(iteration)
        _, log, _ = one_step(model)
        for key, value in log.items():
            MessageHub.get_current_instance().update_scalar(f'train/{key}', value.item())
        kept = entries(key.removeprefix('train/') for key in scalars)
        if iteration == 49:
            assert kept == {'fpn.loss_pkd', 'fpn.loss_skipped'}
    assert kept == {'fpn.loss_silent'}


def test_without_a_runner_the_models_own_steps_count(build):
    model = build(roi_logits=dict(losses=KD, every=3))
    seen = [len(entries(one_step(model)[1])) for _ in range(7)]
    assert seen == [1, 0, 0, 1, 0, 0, 1]


def test_steps_are_a_runners_iterations_and_go_on_after_it(runner):
    steps = StepCount()
    assert [steps.next(), steps.next()] == [0, 1]
    found = []
    # A runner that is resumed at 40 and calls the model twice in an iteration.
    for iteration in (40, 40, 41, 42):
        runner(iteration)
        found.append(steps.next())
    assert found == [40, 41, 41, 42]
    # It has ended; a loop of one's own goes on.
    assert [steps.next(), steps.next()] == [43, 44]


@pytest.mark.parametrize('name', list(SITES.module_dict))
def test_every_site_takes_it(name):
    site = SITES.get(name)
    kind = LOSSES.get(site.family)
    assert kind is not None, f'{name} has losses of the family {site.family}'
    built = site(name, dict(losses=dict(type=kind), every=5, stop_at=0.9))
    assert (built.every, built.stop_at) == (5, 0.9)
    assert site(name, dict(type=kind)).every == 1


def test_ikd_collects_over_its_epochs_all_the_same(build, runner):
    ikd = dict(type='btkd_det.IKDLoss', num_classes=4, collect_iters=5)
    model = build(roi_logits=dict(losses=[ikd], every=2))
    found = []
    for iteration in range(7):
        runner(iteration)
        found.append(one_step(model)[1].get('distill.roi_logits.loss_ikd'))
    assert [value is not None for value in found] == [True, False] * 3 + [True]
    assert [bool(value > 0) for value in found[::2]] == [False, False, False, True]


@pytest.mark.parametrize(
    ('roi_logits', 'words'),
    [
        (dict(losses=KD, every=0), ['distill.roi_logits.every: 0', 'at least 1']),
        (dict(losses=KD, every=1.5), ['distill.roi_logits.every: 1.5', 'whole number']),
        (dict(losses=KD, every=True), ['distill.roi_logits.every: True', 'whole number']),
        (dict(losses=KD, evry=2), ["'evry'", "did you mean 'every'?"]),
        (dict(KD, every=2), ['option of the site', "dict(type='btkd_det.KDLoss', ...), every="]),
        ([KD, dict(KD, stop_at=0.5)], ['roi_logits[1]', 'option of the site', 'stop_at=...)']),
        (dict(losses=[dict(KD, stages='all')]), ['option of the site', 'stages=...)']),
    ],
)
def test_what_is_wrong_is_named(roi_logits, words):
    with pytest.raises(ConfigError) as caught:
        Sites(dict(roi_logits=roi_logits), SITES.module_dict)
    for word in words:
        assert word in str(caught.value)


def test_other_unknown_keys_of_a_loss_are_no_option_of_the_site():
    with pytest.raises(ConfigError, match="unknown key 'temprature'") as caught:
        Sites(dict(roi_logits=dict(type='btkd_det.KDLoss', temprature=2)), SITES.module_dict)
    assert 'option of the site' not in str(caught.value)
