"""A stopped and resumed run beside one that was not stopped, with data loaders of every kind."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import Evaluator

from .toy import (
    COUNT,
    FRESH,
    KEPT,
    NEW,
    PLAIN,
    BestOfAll,
    Drawing,
    Model,
    stopped,
    stopped_after_validation,
    train,
)


@pytest.mark.parametrize('stop', [1, 2])
@pytest.mark.parametrize(
    'loader', [NEW, FRESH, KEPT], ids=['no workers', 'new workers', 'persistent workers']
)
def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path, loader, stop):
    batches, weight = train(tmp_path / 'whole', loader)
    again, same = stopped(tmp_path / 'parts', loader, stop=stop)
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


@pytest.mark.parametrize('loader', [NEW, FRESH, KEPT], ids=['none', 'new', 'persistent'])
def test_a_run_without_a_seed_of_its_own_is_resumed_too(tmp_path, loader, monkeypatch):
    seeds = iter([11, 12, 13])
    monkeypatch.setattr('mmengine.runner.utils.sync_random_seed', lambda: next(seeds))
    batches, weight = train(tmp_path / 'whole', loader, seed=11)
    again, same = stopped(tmp_path / 'parts', loader, seed=None, stop=1)
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


def test_no_two_epochs_draw_the_same_from_persistent_workers(tmp_path):
    drawn = train(tmp_path, KEPT)[0][..., 1:]
    assert drawn.unique().numel() == drawn.numel()


def test_the_first_epoch_is_that_of_a_run_without_the_hook(tmp_path):
    ours, _ = train(tmp_path / 'with', KEPT)
    plain, _ = train(tmp_path / 'without', KEPT, hook=False)
    assert torch.equal(ours[:4], plain[:4])


def test_a_worker_init_fn_of_the_config_is_kept(tmp_path):
    loader = dict(KEPT, worker_init_fn=dict(type='seed_by_seven'))
    batches, _ = train(tmp_path / 'whole', loader)
    again, _ = stopped(tmp_path / 'parts', loader, stop=1)
    assert torch.equal(batches, again)
    assert torch.equal(batches[0, :, 1:], batches[4, :, 1:])


BY_ITERATION = dict(
    train_cfg=dict(by_epoch=False, max_iters=8),
    default_hooks=dict(
        checkpoint=dict(type='btkd_det.AtomicCheckpointHook', interval=2, by_epoch=False)
    ),
)


@pytest.mark.parametrize('stop', [3, 5, 6])
@pytest.mark.parametrize('loader', [NEW, FRESH, KEPT], ids=['none', 'new', 'persistent'])
def test_counted_in_iterations_it_is_the_same_run_too(tmp_path, loader, stop):
    loader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
    batches, weight = train(tmp_path / 'whole', loader, **BY_ITERATION)
    again, same = stopped(tmp_path / 'parts', loader, stop=stop, **BY_ITERATION)
    # What came after the last checkpoint is done again.
    kept = stop // 2 * 2
    assert torch.equal(batches[:stop], again[:stop])
    assert torch.equal(batches[kept:], again[stop:])
    assert torch.equal(weight, same)
    assert batches[..., 1:].unique().numel() == batches[..., 1:].numel()


def test_counted_in_iterations_without_a_seed(tmp_path, monkeypatch):
    seeds = iter([11, 12, 13])
    monkeypatch.setattr('mmengine.runner.utils.sync_random_seed', lambda: next(seeds))
    loader = dict(FRESH, sampler=dict(type='InfiniteSampler', shuffle=True))
    batches, weight = train(tmp_path / 'whole', loader, seed=11, **BY_ITERATION)
    again, same = stopped(tmp_path / 'parts', loader, seed=None, stop=5, **BY_ITERATION)
    assert torch.equal(batches[4:], again[5:])
    assert torch.equal(weight, same)


@pytest.mark.parametrize('loader', [NEW, KEPT], ids=['none', 'persistent'])
def test_with_another_hook_the_order_of_the_images_is_resumed(tmp_path, loader):
    loader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False))
    keys = {**BY_ITERATION, 'default_hooks': hooks}
    batches, _ = train(tmp_path / 'whole', loader, **keys)
    again, _ = stopped(tmp_path / 'parts', loader, stop=5, **keys)
    assert torch.equal(batches[4:, :, 0], again[5:, :, 0])
    assert torch.equal(batches[:5], again[:5])


@pytest.mark.parametrize('loader', [NEW, KEPT], ids=['none', 'persistent'])
def test_a_checkpoint_of_within_validation_has_the_states_of_before_it(tmp_path, loader):
    def run(train_function, folder, **keys):
        BestOfAll.calls = 0
        return train_function(
            tmp_path / folder,
            loader,
            val_dataloader=dict(NEW, batch_size=4, dataset=Drawing(), sampler=PLAIN),
            val_evaluator=Evaluator(BestOfAll()),
            val_cfg=dict(),
            default_hooks=dict(
                checkpoint=dict(
                    type='btkd_det.AtomicCheckpointHook',
                    interval=1,
                    save_best='score',
                    rule='greater',
                )
            ),
            **keys,
        )

    batches, weight = run(train, 'whole')
    again, same = run(stopped_after_validation, 'parts')
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


def test_a_checkpoint_inside_an_epoch_says_that_the_epoch_begins_again(tmp_path, capfd):
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False))
    train(tmp_path, NEW, stop=2, default_hooks=hooks)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_6.pth'))
    capfd.readouterr()
    batches, _ = train(tmp_path, NEW, resume=True, default_hooks=hooks)
    assert 'saved 2 iterations into epoch 2: that epoch begins again' in ''.join(capfd.readouterr())
    assert len(batches) == 8


class Scaled(Drawing):
    """What the transforms of a data set do to its items."""

    def __init__(self):
        self.pipeline = times_one

    def __getitem__(self, index):
        return self.pipeline(super().__getitem__(index))

    def update_skip_type_keys(self, keys):
        assert keys == ('Mosaic',)
        self.pipeline = times_hundred


def times_one(item):
    return item


def times_hundred(item):
    return dict(inputs=item['inputs'] * 100)


class WithHead(Model):
    """Its loss has another term once it is told so."""

    def __init__(self):
        super().__init__()
        self.bbox_head = torch.nn.Module()
        self.bbox_head.use_l1 = False

    def forward(self, inputs, mode='loss'):
        losses = super().forward(inputs, mode)
        if mode == 'loss' and self.bbox_head.use_l1:
            losses['loss_l1'] = self.layer.weight.abs().sum()
        return losses


SWITCHES = {
    'pipeline': dict(
        type='mmdet.PipelineSwitchHook', switch_epoch=1, switch_pipeline=[times_hundred]
    ),
    'YOLOX': dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs=1, skip_type_keys=('Mosaic',)),
}


@pytest.mark.parametrize('stop', [1, 2])
@pytest.mark.parametrize('loader', [NEW, FRESH, KEPT], ids=['none', 'new', 'persistent'])
@pytest.mark.parametrize('hook', SWITCHES.values(), ids=SWITCHES)
def test_hooks_that_switch_the_pipeline_have_switched_it(tmp_path, hook, loader, stop):
    keys = dict(dataset=Scaled, model_type=WithHead, more_hooks=[hook])
    batches, weight = train(tmp_path / 'whole', loader, **keys)
    assert batches[:4].max() < COUNT
    assert batches[8:, :, 0].max() == 100 * (COUNT - 1)
    again, same = stopped(tmp_path / 'parts', loader, stop=stop, **keys)
    assert torch.equal(batches, again)
    assert torch.equal(weight, same)


class Sized(Drawing):
    """Every other image is wide, the others are tall."""

    def get_data_info(self, index):
        return dict(width=20 if index % 2 == 0 else 10, height=15)


def test_batches_by_aspect_ratio_go_on_with_both_and_a_resumed_run_alike(tmp_path):
    pytest.importorskip('mmdet.datasets.samplers')
    loader = dict(
        NEW,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        batch_sampler=dict(type='mmdet.AspectRatioBatchSampler'),
    )
    keys = lambda end: dict(
        dataset=Sized,
        train_cfg=dict(by_epoch=False, max_iters=end),
        default_hooks=dict(
            checkpoint=dict(type='btkd_det.AtomicCheckpointHook', interval=5, by_epoch=False)
        ),
    )
    batches, weight = train(tmp_path / 'whole', loader, **keys(20))
    shapes = [int(batch[0, 0]) % 2 for batch in batches]
    assert all({int(row[0]) % 2 for row in batch} == {shapes[i]} for i, batch in enumerate(batches))
    assert all(set(shapes[part : part + 5]) == {0, 1} for part in (0, 5, 10, 15))
    train(tmp_path / 'parts', loader, **keys(10))
    again, same = train(tmp_path / 'parts', loader, resume=True, **keys(20))
    assert torch.equal(batches[10:], again)
    assert torch.equal(weight, same)


def test_a_batch_sampler_of_another_kind_is_left_alone(tmp_path):
    from mmengine.dataset import InfiniteSampler
    from torch.utils.data import BatchSampler

    from btkd_det.hooks.batch_stream import restart_stream

    class Own(BatchSampler):
        """Keeps what it has gathered between its iterations."""

    sampler = InfiniteSampler(range(8), shuffle=False)
    for batches in (Own(sampler, 2, False), SimpleNamespace(sampler=sampler, batch_size=[1, 1])):
        runner = SimpleNamespace(
            train_dataloader=SimpleNamespace(batch_sampler=batches), train_loop=None
        )
        assert restart_stream(runner, 4) is False


def test_a_random_input_size_is_kept_until_its_time_is_over(tmp_path):
    from mmdet.models.data_preprocessors import BatchSyncRandomResize

    sizes = []

    class Resized(Model):
        def __init__(self):
            super().__init__()
            self.resize = BatchSyncRandomResize((64, 320), interval=10, size_divisor=32)

        def forward(self, inputs, mode='loss'):
            images, _ = self.resize(torch.zeros(1, 3, 160, 160), [])
            sizes.append(tuple(images.shape[-2:]))
            return super().forward(inputs, mode)

    keys = dict(train_cfg=dict(by_epoch=True, max_epochs=6), model_type=Resized)
    train(tmp_path / 'whole', NEW, **keys)
    expected, sizes[:] = list(sizes), []
    assert len(set(expected)) > 2
    # After 12 of 24 iterations: the size is that of the tenth.
    stopped(tmp_path / 'parts', NEW, stop=3, **keys)
    assert sizes == expected
