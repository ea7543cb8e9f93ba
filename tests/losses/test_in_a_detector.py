"""What the losses count and log, inside a distilled detector."""

import pytest
import torch

from tests.conftest import build_detector, detection_batch

COUNTED = {
    'trust.sums': (3,),
    'class_means': (4, 4),
    'class_counts': (4,),
    'collected': (),
}


@pytest.fixture
def config(student_config, teacher_config, teacher_checkpoint):
    losses = [
        dict(type='btkd_det.BTKDLoss', trust='measured'),
        dict(type='btkd_det.IKDLoss', num_classes=4, collect_iters=2),
    ]
    return dict(
        student_config,
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=teacher_config, checkpoint=teacher_checkpoint),
        distill=dict(roi_logits=losses),
    )


def train(model, hub, iterations):
    """Train on a batch of its own in each iteration; the entries of the log."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model.train()
    logs = []
    for iteration in iterations:
        hub.update_info('iter', iteration)
        torch.manual_seed(iteration)
        data = model.data_preprocessor(detection_batch(seed=iteration), training=True)
        total, log = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        logs.append({key: value.item() for key, value in log.items()})
    return logs


@pytest.mark.parametrize(('every', 'stop'), [(1, 1), (2, 1), (2, 3)])
def test_counts_are_in_the_checkpoint_and_a_resumed_run_goes_on_exactly(config, hub, every, stop):
    config['distill'] = dict(roi_logits=dict(losses=config['distill']['roi_logits'], every=every))
    whole = build_detector(config)
    expected = train(whole, hub, range(5))
    distilled = ['distill.roi_logits.loss_btkd' in log for log in expected]
    assert distilled == [iteration % every == 0 for iteration in range(5)]
    first, second = build_detector(config), build_detector(config, seed=1)
    train(first, hub, range(stop))
    state = first.state_dict()
    for name, shape in COUNTED.items():
        found = [key for key in state if key.startswith('distill.') and key.endswith(name)]
        assert len(found) == 1
        assert state[found[0]].shape == shape
    second.load_state_dict(state)
    assert train(second, hub, range(stop, 5)) == expected[stop:]


def test_what_they_saw_is_logged_and_is_no_part_of_the_loss(config, hub):
    log = train(build_detector(config), hub, range(4))[-1]
    site = 'distill.roi_logits.'
    saw = {key.removeprefix(site) for key in log if key.startswith(site) and 'loss' not in key}
    parts = {'right', 'easy', 'hard', 'gamma', 'trust', 'teacher_right', 'student_right'}
    assert {*parts, 'seen'} <= {name.rstrip('2') for name in saw}
    losses = sum(value for key, value in log.items() if 'loss' in key and key != 'loss')
    assert log['loss'] == pytest.approx(losses, rel=1e-5)
    assert log[f'{site}loss_ikd'] > 0


def test_trust_counts_the_foreground_alone(config, hub):
    model = build_detector(config)
    trust = model.distill['roi_logits'][0].trust
    train(model, hub, range(1))
    assert 0 < trust.sums[0] < 32
