"""Reading checkpoints: weights only, whatever MMEngine puts in them, and clear refusals."""

import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import nn

from btkd_det.checkpoint import find_misfits, load_weights, read_checkpoint, weights_only
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


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    path, trace = tmp_path / 'c.pth', tmp_path / 'executed'
    torch.save({'state_dict': {'w': torch.ones(1)}, 'x': Touch(trace)}, path)
    with pytest.raises(ConfigError, match=r'field: .*c\.pth.*would have to be executed'):
        read_checkpoint(path, 'field')
    with weights_only(), pytest.raises(Exception, match='Unsupported'):
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


def test_misfits_are_listed_and_distill_is_passed_over():
    model = nn.Linear(2, 3)
    state = model.state_dict()
    assert find_misfits(model, {**state, 'distill.x': torch.ones(1)}) == []
    assert find_misfits(model, {'weight': torch.ones(3, 5), 'other': torch.ones(1)}) == [
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
