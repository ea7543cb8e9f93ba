"""A run that was interrupted goes on where it stopped; progress and tables of benchmarks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from btkd_det.teacher.cache.gathering import gather, training_batches
from btkd_det.teacher.cache.unfinished import UnfinishedCache
from experiments.benchmarks.benchmark_table import benchmark_table
from experiments.benchmarks.measure import alternate
from tests.classifiers import build_classifier, distilled_resnet, tiny_resnet, write_images

LOAD = [dict(type='LoadImageFromFile')]
PACK = [dict(type='PackInputs')]


@pytest.fixture
def model():
    return build_classifier(
        distilled_resnet(dict(config=tiny_resnet()), dict(logits=dict(type='btkd_det.KDLoss')))
    )


@pytest.fixture(params=['files', 'memory', 'views'])
def cfg(request, tmp_path):
    write_images(tmp_path / 'data')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path / 'data'), pipeline=LOAD + PACK)
    if request.param != 'files':
        views = dict(views=2, crop_padding=2) if request.param == 'views' else {}
        dataset = dict(type='btkd_det.InMemoryImages', dataset=dataset, **views)
    loader = dict(batch_size=5, num_workers=0, dataset=dataset)
    return Config(dict(default_scope='mmpretrain', train_dataloader=loader))


def interrupted(batches, after):
    for i, batch in enumerate(batches):
        if i == after:
            raise KeyboardInterrupt
        yield batch


def test_it_goes_on_where_it_stopped(cfg, model, tmp_path):
    views = cfg.train_dataloader.dataset.get('views') or 1
    shape, header, path = (views, 12, 7), dict(checkpoint='a'), tmp_path / 'out/c.pt'
    whole = gather(model, training_batches(cfg)[0], shape)
    first = UnfinishedCache(path, shape, header)
    with pytest.raises(KeyboardInterrupt):
        gather(model, interrupted(training_batches(cfg)[0], 2), shape, unfinished=first)
    again = UnfinishedCache(path, shape, header)
    assert again.done == 10
    batches, total = training_batches(cfg, again.done)
    calls = []
    found = gather(model, batches, shape, lambda: calls.append(1), again)
    assert len(calls) == total == (4 if views == 2 else 1)
    torch.testing.assert_close(found, whole)
    again.remove()
    assert not list(Path(tmp_path / 'out').iterdir())


def test_what_another_teacher_left_is_thrown_away(tmp_path):
    path, shape = tmp_path / 'c.pt', (1, 4, 2)
    first = UnfinishedCache(path, shape, dict(checkpoint='a'))
    first.logits[:] = 1
    first.mark(3)
    assert UnfinishedCache(path, shape, dict(checkpoint='a')).logits.sum() == 8
    for other in (dict(checkpoint='b'), dict(checkpoint='a', dtype='float16')):
        assert UnfinishedCache(path, shape, other).done == 0
    (tmp_path / 'c.pt.unfinished.json').write_text('{')
    assert UnfinishedCache(path, shape, dict(checkpoint='a')).done == 0


@pytest.mark.parametrize('shape', [(1, 4, 2), (1, 9, 5)], ids=['same shape', 'another shape'])
def test_what_another_teacher_began_is_not_counted_as_ours(tmp_path, shape):
    path, own = tmp_path / 'c.pt', (1, 4, 2)
    first = UnfinishedCache(path, own, dict(checkpoint='a'))
    first.logits[:] = 1
    first.mark(3)
    # Stopped before its first batch: it marks nothing.
    UnfinishedCache(path, shape, dict(checkpoint='b'))
    again = UnfinishedCache(path, own, dict(checkpoint='a'))
    assert again.done == 0
    assert tuple(again.logits.shape) == own


@pytest.mark.parametrize(
    'values',
    [
        np.zeros((1, 9, 5), np.float16),
        np.zeros((1, 4, 2), np.float32),
        np.zeros((1, 3, 2), np.float16),
        None,
    ],
    ids=['shape', 'type', 'shorter', 'damaged'],
)
@pytest.mark.parametrize('done', [3, '3', 9])
def test_values_that_are_not_of_the_state_are_thrown_away(tmp_path, values, done):
    path, shape = tmp_path / 'c.pt', (1, 4, 2)
    first = UnfinishedCache(path, shape, dict(checkpoint='a'))
    first.mark(done)
    del first
    file = Path(f'{path}.unfinished.npy')
    if values is not None:
        np.save(file, values)
    elif done == 3:
        file.write_bytes(b'x')
    again = UnfinishedCache(path, shape, dict(checkpoint='a'))
    assert again.done == 0
    assert tuple(again.logits.shape) == shape
    assert again.logits.dtype == torch.float16


def test_benchmarks_tell_how_far_they_are(capsys):
    alternate(dict(mine=lambda _: None, peer=lambda _: None), 4, warmup=0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f'round {i} of 4: mine, peer' for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('steps-cpu', ["distilled step / (plain step + teacher's forward): fpn: PKD", '0.9']),
        ('losses-cpu', ['512 x 81 logits', 'BTKD around KD / KD alone: btkd-paper']),
        ('import', ['seconds of import btkd_det beyond what it imports', '0.044']),
        ('loading-cpu', ["loading's share of a step: in memory", 'images a second']),
    ],
)
def test_a_result_is_printed_with_its_ratios(name, words):
    path = Path(__file__).parents[2] / f'experiments/benchmarks/{name}.json'
    text = benchmark_table(json.loads(path.read_text()))
    for word in ('median ms', 'ratio', *words):
        assert word in text


def test_bfloat16_is_a_public_option_of_the_optimizer():
    from mmengine.registry import OPTIM_WRAPPERS

    import btkd_det  # noqa: F401

    layer = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(type='btkd_det.BFloat16OptimWrapper', optimizer=optimizer))
    with wrapper.optim_context(layer):
        output = layer(torch.ones(2, 4))
    assert output.dtype == torch.bfloat16
    before = layer.weight.clone()
    wrapper.update_params(output.float().sum())
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(before, layer.weight)
