"""Reading checkpoints: weights only, whatever MMEngine puts in them, and clear refusals."""

import functools
import http.server
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim import OneCycleLR, OneCycleParamScheduler
from torch import nn

from btkd_det.checkpoint import (
    class_names,
    find_misfits,
    load_weights,
    read_checkpoint,
    read_content,
    weights_only,
)
from btkd_det.errors import ConfigError


class Touch:
    """Unpickling it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_a_checkpoint_of_mmengine_is_read(tmp_path):
    path = tmp_path / 'c.pth'
    torch.save(
        dict(
            meta=dict(epoch=3, dataset_meta=dict(classes=('a', 'b'))),
            state_dict={'weight': torch.ones(2)},
            message_hub=dict(loss=HistoryBuffer([1.0, 2.0], [1, 1]), lr=np.float64(0.1)),
        ),
        path,
    )
    state, meta = read_checkpoint(path, 'field')
    assert torch.equal(state['weight'], torch.ones(2))
    assert meta['epoch'] == 3


def test_the_wrapper_of_a_parallel_model_is_taken_off(tmp_path):
    path = tmp_path / 'c.pth'
    torch.save({'module.weight': torch.ones(2)}, path)
    assert list(read_checkpoint(path, 'field')[0]) == ['weight']


@pytest.mark.parametrize(
    'prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.']
)
def test_the_weights_of_a_compiled_model_are_loaded(tmp_path, prefix):
    model, other = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3))
    state = {prefix + key.replace('0.', '0._orig_mod.'): v for key, v in model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'c.pth')
    load_weights(other, tmp_path / 'c.pth', 'field', compiled=True)
    assert torch.equal(other[0].weight, model[0].weight)
    with pytest.raises(ConfigError, match='field: .* does not fit'):
        load_weights(other, tmp_path / 'c.pth', 'field')


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    path, trace = tmp_path / 'c.pth', tmp_path / 'executed'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Touch(trace)}, path)
    with pytest.raises(ConfigError, match=r'field: .*c\.pth.*would have to be executed'):
        read_checkpoint(path, 'field')
    with weights_only(), pytest.raises(ConfigError, match='would have to be executed'):
        torch.load(path, weights_only=False)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_getattr_is_allowed_for_history_buffers_alone(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (np.ndarray, 'tofile')

    path = tmp_path / 'c.pth'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Reach()}, path)
    with pytest.raises(ConfigError, match='getattr'):
        read_checkpoint(path, 'field')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'field'),
        (b'not a checkpoint at all', 'field'),
        ([1, 2], 'holds a list'),
        (dict(epoch=3), 'holds no weights; its keys are epoch'),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, words):
    path = tmp_path / 'c.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=words):
        read_checkpoint(path, 'field')


def test_of_a_checkpoint_that_is_not_there_the_newest_beside_it_is_named(tmp_path):
    for age, name in enumerate(['epoch_20.pth', 'epoch_3.pth']):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    with pytest.raises(
        ConfigError, match=r'no file .*epoch_100.pth .*newest there is epoch_20.pth$'
    ):
        read_checkpoint(tmp_path / 'epoch_100.pth', 'teacher.checkpoint')
    with pytest.raises(ConfigError, match=r"'pretrained' \(model zoo\)$"):
        read_checkpoint(tmp_path / 'nowhere' / 'epoch_100.pth', 'teacher.checkpoint')


def test_misfits_are_listed_and_distill_is_passed_over():
    model = nn.Linear(2, 3)
    state = model.state_dict()
    assert find_misfits(model, {**state, 'distill.x': torch.ones(1)}).lines == []
    assert find_misfits(model, {'weight': torch.ones(3, 5), 'other': torch.ones(1)}).lines == [
        'weight is (3, 5) there and (3, 2) in the model',
        'bias is missing there',
        'other is not in the model',
    ]


def test_weights_are_downloaded_from_an_address(tmp_path, monkeypatch):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    (tmp_path / 'site').mkdir()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'site' / 'zoo.pth')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / 'site')
    )
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        load_weights(other, f'http://127.0.0.1:{server.server_port}/zoo.pth', 'field')
        server.shutdown()
    assert torch.equal(other.weight, model.weight)


def test_a_schedule_of_one_cycle_can_be_resumed(tmp_path):
    layer = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, eta_max=0.1, total_steps=4, anneal_strategy='linear')
    path = tmp_path / 'c.pth'
    torch.save(dict(state_dict=layer.state_dict(), param_schedulers=[scheduler.state_dict()]), path)
    state = read_content(path, 'field')['param_schedulers'][0]
    assert state['anneal_func'](0, 2, 0.5) == 1
    assert state['anneal_func'] is OneCycleLR._annealing_linear


class Reach:
    """Asks a class for one of its functions."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        (OneCycleParamScheduler, 'load_state_dict'),
        (OneCycleParamScheduler, '__init__'),
        (torch.Tensor, 'apply_'),
        (slice, '__class__'),
    ],
)
def test_no_other_function_is_reached(tmp_path, owner, name):
    path = tmp_path / 'c.pth'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Reach(owner, name)}, path)
    with pytest.raises(ConfigError, match='getattr'):
        read_checkpoint(path, 'field')


def test_a_record_brings_no_methods_for_others(tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    path = tmp_path / 'c.pth'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HistoryBuffer, '_statistics_methods', {'mean': HistoryBuffer.max})
        torch.save(dict(state_dict={'w': torch.ones(1)}, x=history), path)
    assert read_content(path, 'field')['x'].data[0].tolist() == [1, 3]
    assert HistoryBuffer([1.0, 3.0], [1, 1]).statistics('mean') == 2


def test_parts_of_a_config_and_plain_values_are_read(tmp_path):
    path = tmp_path / 'c.pth'
    info = ConfigDict(classes=('a',), palette=[(1, 2, 3)], range=slice(1, 2))
    torch.save(dict(meta=dict(dataset_meta=info), state_dict={'w': torch.ones(1)}), path)
    found = read_checkpoint(path, 'field')[1]['dataset_meta']
    assert type(found) is dict
    assert found == dict(classes=('a',), palette=[(1, 2, 3)], range=slice(1, 2))


@pytest.mark.parametrize('name', ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'none of them'])
def test_the_environment_does_not_lift_the_limit(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, '1')
    path, trace = tmp_path / 'c.pth', tmp_path / 'executed'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Touch(trace)}, path)
    before = dict(os.environ)
    with weights_only(), pytest.raises(ConfigError):
        torch.load(path)
    with pytest.raises(ConfigError):
        read_checkpoint(path, 'field')
    assert not trace.exists()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (dict(state_dict=None), 'a state_dict that is a NoneType'),
        (dict(state_dict=[torch.ones(1)]), 'a state_dict that is a list'),
        (dict(state_dict={0: torch.ones(1)}), 'has the key 0 among its weights'),
        ({0: torch.ones(1)}, 'has the key 0 among its weights'),
        (dict(state_dict={'w': 'text'}), 'holds no weights'),
        (torch.ones(1), 'holds a Tensor'),
        ('some text', 'holds a str'),
        (None, 'holds a NoneType'),
    ],
)
def test_a_checkpoint_of_odd_structure_is_named(tmp_path, content, words):
    path = tmp_path / 'c.pth'
    torch.save(content, path)
    with pytest.raises(ConfigError, match=f'field: .*{words}'):
        read_checkpoint(path, 'field')


@pytest.mark.parametrize('data', [b'\x80\x02}', b'\x80\x02X\xff', b'\x80\x02h\x05.', b'PK\x03\x04'])
def test_a_damaged_file_is_named(tmp_path, data):
    path = tmp_path / 'c.pth'
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r'field: .*c\.pth'):
        read_checkpoint(path, 'field')


@pytest.mark.parametrize(
    ('meta', 'names'),
    [
        (dict(dataset_meta=dict(classes=['a', 'b'])), ('a', 'b')),
        (dict(CLASSES=('a', 'b')), ('a', 'b')),
        (dict(dataset_meta=dict(CLASSES=('a', 'b'), PALETTE=None)), ('a', 'b')),
        (dict(dataset_meta=dict(CLASSES=('a',)), CLASSES=('b',)), ('a',)),
        (dict(dataset_meta=dict(classes='person')), ('person',)),
        (dict(dataset_meta=dict(classes=np.array(['a', 'b']))), ('a', 'b')),
        (dict(dataset_meta=[1], CLASSES=['a']), ('a',)),
        (dict(dataset_meta=None), None),
        (dict(dataset_meta=dict(classes=3)), None),
        (dict(dataset_meta=dict(classes=[['a']])), None),
        (dict(dataset_meta=dict(classes=[])), None),
    ],
)
def test_class_names_are_names_or_nothing(meta, names):
    assert class_names(meta) == names


@pytest.mark.parametrize('address', ['torchvision://no_such_net', 'open-mmlab://none', 's3://a/b'])
def test_an_address_that_leads_nowhere_is_named(address):
    with pytest.raises(ConfigError, match=f'field: {address} could not be downloaded'):
        read_checkpoint(address, 'field')
