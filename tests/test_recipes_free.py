"""Pairs of one's own, teachers trained shorter, and recipes that a person changed."""

import importlib.util
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from btkd_det.errors import ConfigError
from btkd_det.models.backbones import build_cifar_classifier
from btkd_det.models.backbones.cifar_resnet import CIFARResNet
from btkd_det.models.backbones.public_weights import rename_public_keys
from btkd_det.recipes import recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location('make_recipe', ROOT / 'tools/make_recipe.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda command: module.write(module.parse_args(shlex.split(command)))


@pytest.mark.parametrize(
    ('dataset', 'teacher', 'student'),
    [
        ('cifar100', 'wrn_40_2', 'vgg8'),
        ('cifar10', 'resnet20', 'resnet20'),
        ('tiny_imagenet', 'resnet50', 'resnet8'),
        ('imagenet', 'resnet50', 'resnet18'),
    ],
)
def test_any_two_networks_are_a_pair(dataset, teacher, student):
    cfg = recipe(dataset, teacher, student, 'btkd-kd')
    assert cfg.model.type == 'btkd_det.DistilledImageClassifier'
    assert cfg.model.teacher.checkpoint


def test_a_network_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"'resnet21', .* no network \(did you mean 'resnet32"):
        recipe('cifar100', 'resnet21', 'resnet20', 'kd')
    with pytest.raises(ConfigError, match="student: 'vgg9', which is no network"):
        recipe('cifar100', 'resnet56', 'vgg9', 'kd')


def test_a_teacher_without_a_method_asks(tool):
    with pytest.raises(
        ConfigError, match='--method: missing, and --teacher is resnet56; valid: "te'
    ):
        tool('cifar100 --teacher resnet56 --student resnet20')
    assert tool('cifar100 --student resnet20').name == 'resnet20_cifar100.py'


def test_an_edited_recipe_is_kept(tool):
    command = 'cifar100 --teacher resnet56 --student resnet20 --method kd'
    path = tool(command)
    assert tool(f'{command} --epochs 12') == path
    assert Config.fromfile(path).train_cfg.max_epochs == 12
    path.write_text(path.read_text().replace('lr=0.05', 'lr=0.1'))
    with pytest.raises(ConfigError, match='was edited since it was written; .*--force'):
        tool(command)
    assert 'lr=0.1' in path.read_text()
    tool(f'{command} --force')
    assert 'lr=0.05' in path.read_text()
    path.write_text('mine = 1\n')
    with pytest.raises(ConfigError, match='was edited'):
        tool(command)


def test_a_teacher_of_fewer_epochs_is_found(tool, tmp_path):
    folder = tmp_path / 'work_dirs/resnet56_cifar100'
    command = 'cifar100 --teacher resnet56 --student resnet20 --method kd'
    found = lambda: Config.fromfile(tool(command)).model.teacher.checkpoint
    assert found() == 'work_dirs/resnet56_cifar100/epoch_240.pth'
    folder.mkdir(parents=True)
    for epochs in (9, 20):
        (folder / f'epoch_{epochs}.pth').touch()
    assert found() == 'work_dirs/resnet56_cifar100/epoch_20.pth'
    (folder / 'epoch_240.pth').touch()
    assert found() == 'work_dirs/resnet56_cifar100/epoch_240.pth'
    cfg = Config.fromfile(tool(f'{command} --teacher-checkpoint mine.pth'))
    assert cfg.model.teacher.checkpoint == 'mine.pth'


class Block(nn.Module):
    """He et al.'s block with shortcuts without weights, as public code has it."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.added = stride, channels - before

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        zeros = x.new_zeros(len(x), self.added // 2, *y.shape[2:])
        same = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + torch.cat([zeros, same, zeros], dim=1))


class PublicResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        layer = lambda before, channels, stride: nn.Sequential(
            Block(before, channels, stride),
            *(Block(channels, channels, 1) for _ in range(blocks - 1)),
        )
        self.layer1, self.layer2 = layer(16, 16, 1), layer(16, 32, 2)
        self.layer3, self.linear = layer(32, 64, 2), nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean(dim=(2, 3)))


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_public_weights_give_the_public_networks_logits(prefix):
    torch.manual_seed(0)
    public = PublicResNet(2).eval()
    for part in public.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.normal_(1, 0.2)
    ours = build_cifar_classifier('resnet14', 10).eval()
    ours.backbone = CIFARResNet(14, shortcut='A').eval()
    state = {f'{prefix}{key}': value for key, value in public.state_dict().items()}
    ours.load_state_dict(rename_public_keys(state))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), public(images))


def test_a_shortcut_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match="shortcut: 'C'; valid: A, B"):
        CIFARResNet(8, shortcut='C')
    with pytest.raises(ConfigError, match='adds channels'):
        CIFARResNet(8, stem_channels=32, shortcut='A')
    with pytest.raises(ValueError, match="'downsample.0.weight' is no key"):
        rename_public_keys({'downsample.0.weight': 0})
