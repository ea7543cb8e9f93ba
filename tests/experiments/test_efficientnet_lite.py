"""EfficientNet-Lite's weights under timm's names, and in a backbone of MMPretrain."""

import importlib.util
import zipfile

import pytest
import torch

from btkd_det.errors import ConfigError
from experiments.efficientnet_lite import convert, make_checkpoint, read


@pytest.fixture
def weights():
    return {
        '_conv_stem.weight': torch.rand(4, 3, 3, 3),
        '_bn0.weight': torch.rand(4),
        '_bn0.num_batches_tracked': torch.tensor(7),
    }


@pytest.fixture
def expected():
    return {
        'conv_stem.weight': torch.zeros(4, 3, 3, 3),
        'bn1.weight': torch.zeros(4),
        'bn1.num_batches_tracked': torch.tensor(0),
    }


def test_names_are_exchanged_in_order(weights, expected):
    converted = convert(weights, expected)
    assert list(converted) == list(expected)
    for ours, its in zip(converted.values(), weights.values(), strict=True):
        torch.testing.assert_close(ours, its, rtol=0, atol=0)


def test_refuses_other_tensors(weights, expected):
    with pytest.raises(ConfigError, match='2 tensors; valid: the 3'):
        convert(dict(list(weights.items())[:2]), expected)
    with pytest.raises(ConfigError, match='_bn0.weight is .5,.* valid for bn1.weight: .4,'):
        convert({**weights, '_bn0.weight': torch.rand(5)}, expected)
    with pytest.raises(ConfigError, match='_bn0.num_batches_tracked .*float32'):
        convert({**weights, '_bn0.num_batches_tracked': torch.tensor(7.0)}, expected)


def save(weights, folder, form):
    path = folder / 'made-up.pth'
    torch.save(weights, path)
    if form == 'file':
        return path
    with zipfile.ZipFile(folder / 'made_up-0.1-py3-none-any.whl', 'w') as wheel:
        wheel.write(path, 'made_up/models/made-up.pth')
        wheel.writestr('made_up/__init__.py', 'raise RuntimeError')
    return folder / 'made_up-0.1-py3-none-any.whl'


@pytest.mark.parametrize('form', ['file', 'wheel'])
def test_reads_a_wheel_and_the_file_in_it(weights, tmp_path, form):
    found = read(save(weights, tmp_path, form))
    assert list(found) == list(weights)
    torch.testing.assert_close(found, weights, rtol=0, atol=0)


def test_refuses_what_holds_no_weights(tmp_path):
    with pytest.raises(ConfigError, match='no file'):
        read(tmp_path / 'nothing.whl')
    with zipfile.ZipFile(tmp_path / 'empty.whl', 'w') as wheel:
        wheel.writestr('made_up/__init__.py', '')
    with pytest.raises(ConfigError, match=r'holds 0 \.pth files'):
        read(tmp_path / 'empty.whl')


class Code:
    def __reduce__(self):
        return print, ('executed',)


def test_executes_nothing_that_a_file_holds(tmp_path, capsys):
    with pytest.raises(ConfigError, match='holds more than tensors'):
        read(save({'weight': Code()}, tmp_path, 'wheel'))
    assert 'executed' not in capsys.readouterr().out


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ('timm', 'mmpretrain'))),
    reason='timm or mmpretrain is not installed: pip install btkd_det[classification]',
)
def test_the_checkpoint_loads_into_the_backbone(tmp_path):
    import timm
    from mmpretrain.models import TIMMBackbone

    torch.manual_seed(0)
    network = timm.create_model('tf_efficientnet_lite0', pretrained=False)
    # Names of their own, in timm's order, as the packages have them.
    made_up = {f'tensor{n}': v for n, v in enumerate(network.state_dict().values())}
    out = tmp_path / 'out' / 'lite0.pth'
    make_checkpoint('lite0', out, save(made_up, tmp_path, 'wheel'))

    torch.manual_seed(1)
    backbone = TIMMBackbone(
        'tf_efficientnet_lite0',
        features_only=True,
        out_indices=(2, 3, 4),
        init_cfg=dict(type='Pretrained', checkpoint=str(out)),
    )
    backbone.init_weights()
    wanted = network.state_dict()
    state = backbone.timm_model.state_dict()
    assert len(state) > 250
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=0, msg=name)
