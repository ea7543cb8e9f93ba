"""A training that has become nonsense ends where it did, with what it takes to find out why."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import BaseDataElement, InstanceData

from btkd_det.errors import ConfigError, NotFiniteError
from btkd_det.hooks import FiniteLossesHook
from btkd_det.hooks.finite_losses import plain_batch

from .toy import NEW, Model, train


class Exploding(Model):
    """Has an infinite loss, or none that is a number, in some of its iterations."""

    def __init__(self, iterations, value=float('nan')):
        super().__init__()
        self.iterations, self.value = iterations, value

    def forward(self, inputs, mode='loss'):
        losses = super().forward(inputs, mode)
        if MessageHub.get_current_instance().get_info('iter') in self.iterations:
            losses['loss_other'] = losses['loss'] * self.value
        return losses


def run(folder, model, skip=0, **keys):
    hook = dict(type='btkd_det.FiniteLossesHook', skip=skip)
    return train(folder, NEW, model=model, more_hooks=[hook], **keys)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_it_ends_at_the_first_one(tmp_path, value):
    with pytest.raises(NotFiniteError) as caught:
        run(tmp_path, Exploding([5], value))
    text = str(caught.value)
    for word in ('iteration 6', 'loss_other', 'learning rate of 0.001', 'not_finite_iter_6.pth'):
        assert word in text
    # The epoch before it is whole, and none of NaN came after it.
    assert [path.name for path in tmp_path.glob('epoch*')] == ['epoch_1.pth']
    batch = torch.load(tmp_path / 'not_finite_iter_6.pth', weights_only=True)
    assert [value.shape for value in batch['inputs']] == [(4,)] * 4


def test_a_rate_that_is_too_high(tmp_path):
    high = dict(optimizer=dict(type='SGD', lr=1e30))
    with pytest.raises(NotFiniteError, match='learning rate of 1e[+]30'):
        run(tmp_path, Model(), optim_wrapper=high)


def test_what_is_finite_trains_as_without_it(tmp_path):
    batches, weight = run(tmp_path / 'with', Model())
    others, same = train(tmp_path / 'without', NEW)
    assert torch.equal(batches, others)
    assert torch.equal(weight, same)
    assert not list(tmp_path.rglob('not_finite*'))


def test_some_may_be_left_out(tmp_path, capfd):
    batches, weight = run(tmp_path, Exploding([2, 5, 6]), skip=2)
    assert len(batches) == 12
    assert weight.isfinite().all()
    text = ''.join(capfd.readouterr())
    assert 'iteration 3: the loss is infinite or no number; the step is left out, 1 of 2' in text
    assert '2 of 2 in a row' in text


def test_but_no_more(tmp_path):
    with pytest.raises(NotFiniteError, match='iteration 8: '):
        run(tmp_path, Exploding([5, 6, 7]), skip=2)


def test_a_step_that_is_left_out_changes_nothing(tmp_path):
    weights = []

    class Watching(Exploding):
        def train_step(self, data, optim_wrapper):
            before = self.layer.weight.detach().clone()
            log = super().train_step(data, optim_wrapper)
            weights.append(torch.equal(before, self.layer.weight))
            return log

    run(tmp_path, Watching([3]), skip=1)
    assert weights == [i == 3 for i in range(12)]


@pytest.mark.parametrize('skip', [-1, 1.5, True, 'all'])
def test_a_number_that_is_none_is_refused(skip):
    with pytest.raises(ConfigError, match='FiniteLossesHook.skip: .*; valid'):
        FiniteLossesHook(skip)


def test_a_batch_is_kept_as_plain_data():
    sample = BaseDataElement(metainfo=dict(img_path='a/b.jpg'))
    sample.gt_instances = InstanceData(bboxes=torch.ones(1, 4), labels=torch.tensor([3]))
    batch = plain_batch(dict(inputs=[torch.zeros(3, 2, 2)], data_samples=[sample]))
    assert batch['images'] == ['a/b.jpg']
    assert batch['boxes'][0].tolist() == [[1, 1, 1, 1]]
    assert batch['labels'][0].tolist() == [3]
    assert plain_batch([torch.zeros(2)])['inputs'][0].shape == (2,)
