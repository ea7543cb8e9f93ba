"""The CIFAR networks: published sizes, geometry, published blocks, and life in mmpretrain."""

import copy

import pytest
import torch
import torchvision
from mmengine.registry import MODELS
from torch.nn import functional as F

from btkd_det.errors import ConfigError
from btkd_det.models.backbones import (
    CIFAR_NETWORKS,
    build_cifar_classifier,
    cifar_classifier_config,
)
from btkd_det.models.backbones.cifar_mobilenet_v2 import InvertedResidual
from btkd_det.models.backbones.cifar_shufflenet_v1 import ShuffleNetV1Block
from btkd_det.models.backbones.cifar_shufflenet_v2 import ShuffleNetV2Block, ShuffleNetV2DownBlock
from btkd_det.models.backbones.cifar_wide_resnet import PreActivationBlock
from btkd_det.models.backbones.residual_block import basic_block

# Parameters at 100 classes, then the channels and the stride of each block output.
PUBLISHED = dict(
    resnet8=(83_892, (16, 32, 64), (1, 2, 4)),
    resnet14=(181_108, (16, 32, 64), (1, 2, 4)),
    resnet20=(278_324, (16, 32, 64), (1, 2, 4)),
    resnet32=(472_756, (16, 32, 64), (1, 2, 4)),
    resnet44=(667_188, (16, 32, 64), (1, 2, 4)),
    resnet56=(861_620, (16, 32, 64), (1, 2, 4)),
    resnet110=(1_736_564, (16, 32, 64), (1, 2, 4)),
    resnet8x4=(1_233_540, (64, 128, 256), (1, 2, 4)),
    resnet32x4=(7_433_860, (64, 128, 256), (1, 2, 4)),
    wrn_16_1=(180_916, (16, 32, 64), (1, 2, 4)),
    wrn_16_2=(703_284, (32, 64, 128), (1, 2, 4)),
    wrn_40_1=(569_780, (16, 32, 64), (1, 2, 4)),
    wrn_40_2=(2_255_156, (32, 64, 128), (1, 2, 4)),
    vgg8=(3_965_028, (64, 128, 256, 512, 512), (1, 2, 4, 8, 8)),
    vgg11=(9_277_284, (64, 128, 256, 512, 512), (1, 2, 4, 8, 8)),
    vgg13=(9_462_180, (64, 128, 256, 512, 512), (1, 2, 4, 8, 8)),
    vgg16=(14_774_436, (64, 128, 256, 512, 512), (1, 2, 4, 8, 8)),
    vgg19=(20_086_692, (64, 128, 256, 512, 512), (1, 2, 4, 8, 8)),
    mobilenetv2=(812_836, (12, 16, 48, 160), (2, 4, 8, 16)),
    shufflenetv1=(949_258, (240, 480, 960), (2, 4, 8)),
    shufflenetv2=(1_355_528, (116, 232, 464), (2, 4, 8)),
    resnet50=(23_705_252, (256, 512, 1024, 2048), (1, 2, 4, 8)),
)
# The smallest network of each registered backbone.
FAMILIES = (
    'resnet8',
    'wrn_16_1',
    'vgg8',
    'mobilenetv2',
    'shufflenetv1',
    'shufflenetv2',
    'resnet50',
)
CLOSED = ('wrn_16_1', 'mobilenetv2', 'shufflenetv2')


def parameters_of(module):
    return sum(p.numel() for p in module.parameters())


def build_image_classifier(name, num_classes, **backbone):
    """mmpretrain's classifier around the backbone, its weights initialized."""
    pytest.importorskip('mmpretrain')
    cfg = cifar_classifier_config(name, num_classes)
    cfg['backbone'].update(backbone)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def randomize_norms(module):
    """Norms as training leaves them, so that leaving one out or swapping two shows."""
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for tensor in (m.weight.data, m.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (m.bias.data, m.running_mean):
                tensor.normal_(std=0.3)
    return module.eval()


def copy_in_order(source, target):
    """Give ``target`` the tensors of ``source``, which has its layers in the same order."""
    pairs = zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    for value, place in pairs:
        assert value.shape == place.shape
        place.copy_(value)
    return target.eval()


def test_every_name_has_a_published_size():
    assert set(CIFAR_NETWORKS) == set(PUBLISHED)


@pytest.mark.parametrize('name', PUBLISHED)
def test_sizes_and_shapes(name):
    parameters, channels, strides = PUBLISHED[name]
    model = build_cifar_classifier(name, 100).eval()
    assert parameters_of(model) == parameters
    images = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        maps = model.features(images)
        assert model(images).shape == (1, 100)
    assert [tuple(m.shape) for m in maps] == [
        (1, c, 32 // s, 32 // s) for c, s in zip(channels, strides, strict=True)
    ]


@pytest.mark.parametrize('name', FAMILIES)
def test_larger_images(name):
    _, channels, strides = PUBLISHED[name]
    if name == 'vgg8':
        strides = (1, 2, 4, 8, 16)
    model = build_cifar_classifier(name, 200).eval()
    images = torch.zeros(2, 3, 64, 64)
    with torch.no_grad():
        maps = model.features(images)
        assert model(images).shape == (2, 200)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 64 // s) for c, s in zip(channels, strides, strict=True)
    ]


@pytest.mark.parametrize('name', FAMILIES)
def test_no_stage_writes_into_its_input(name):
    """The maps are handed to losses while the network goes on with them."""
    backbone = build_cifar_classifier(name, 5).eval().backbone
    x = torch.randn(2, 3, 32, 32)
    for part in (backbone.stem, *backbone.stages, backbone.closing):
        if part is None:
            continue
        before = x.clone()
        with torch.no_grad():
            y = part(x)
        assert torch.equal(x, before)
        x = y


@pytest.mark.parametrize('name', FAMILIES)
def test_out_indices(name):
    """Maps by number; the last one of all is what the classifier pools."""
    count = len(PUBLISHED[name][1]) + (name in CLOSED)
    model = build_cifar_classifier(name, 5).eval()
    images = torch.randn(2, 3, 32, 32)
    every = copy.deepcopy(model.backbone)
    every.out_indices = tuple(range(count))
    with torch.no_grad():
        maps = every(images)
        assert [m.shape[1] for m in maps] == list(every.channels)
        for got, expected in zip(maps, model.features(images), strict=False):
            assert torch.equal(got, expected)
        (last,) = model.backbone(images)
        assert torch.equal(last, maps[-1])
        logits = F.linear(last.mean((2, 3)), model.head.fc.weight, model.head.fc.bias)
        torch.testing.assert_close(model(images), logits)

    cfg = cifar_classifier_config(name, 5)['backbone']
    backbone = MODELS.build(dict(cfg, out_indices=(0, -2)))
    assert backbone.out_indices == (0, count - 2)
    for wrong in (count, -count - 1, 'last', True, ()):
        with pytest.raises(ConfigError, match='out_indices'):
            MODELS.build(dict(cfg, out_indices=wrong))


@pytest.mark.parametrize('name', PUBLISHED)
def test_config_describes_the_same_network(name):
    pytest.importorskip('mmpretrain')
    cfg = cifar_classifier_config(name, 100)
    before = copy.deepcopy(cfg)
    model = MODELS.build(cfg)
    assert parameters_of(model) == PUBLISHED[name][0]
    cfg['backbone']['out_indices'] = (0, -1)
    cfg['head']['init_cfg']['layer'] = 'Conv2d'
    assert cifar_classifier_config(name, 100) == before
    ours = build_cifar_classifier(name, 100)
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }


@pytest.mark.parametrize('name', FAMILIES)
def test_both_start_from_the_same_weights(name):
    """The same seed, the same initialization, the same logits."""
    torch.manual_seed(3)
    ours = build_cifar_classifier(name, 7)
    torch.manual_seed(3)
    theirs = build_image_classifier(name, 7)
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        assert torch.equal(value, state[key]), key
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize('name', FAMILIES)
def test_image_classifier_learns(name):
    """Steps through mmpretrain's loss reach every parameter and fit a batch."""
    torch.manual_seed(0)
    # The earlier maps beside the last: mmpretrain's neck and head take them, too.
    model = build_image_classifier(name, 3, out_indices=(0, -1))
    from mmpretrain.structures import DataSample

    labels = [0, 1, 2, 0, 1, 2]
    # Classes differ in brightness.
    images = torch.randn(6, 3, 16, 16) + torch.tensor(labels).view(6, 1, 1, 1)
    samples = [DataSample().set_gt_label(label) for label in labels]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3 if name == 'resnet50' else 6):
        loss = model(**data, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert losses[-1] < 0.8 * losses[0]
    predictions = model(**data, mode='predict')
    assert predictions[0].pred_score.shape == (3,)


@pytest.mark.parametrize('name', FAMILIES)
def test_initialization(name):
    """Norms 1 and 0; the spread of convolutions and linear layers as the papers' code has it."""
    torch.manual_seed(0)
    model = build_cifar_classifier(name, 100)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
        elif isinstance(module, torch.nn.Conv2d):
            if module.bias is not None:
                assert (module.bias == 0).all()
            if module.weight.numel() < 2000:
                continue
            kernel, inputs = module.weight[0, 0].numel(), module.weight[0].numel()
            if name.startswith('shufflenet'):
                expected = (3 * inputs) ** -0.5
            else:
                expected = (2 / (kernel * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
    linear = model.head.fc
    normal = name in ('vgg8', 'mobilenetv2')
    expected = 0.01 if normal else (3 * linear.in_features) ** -0.5
    assert linear.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert (linear.bias == 0).all()


@torch.no_grad()
def test_resnet50_is_torchvisions_but_for_the_stem():
    ours = randomize_norms(build_cifar_classifier('resnet50', 10))
    theirs = torchvision.models.resnet50(num_classes=10)
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = torch.nn.Identity()
    copy_in_order(ours, theirs)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(('name', 'like'), [('vgg11', 'A'), ('vgg19', 'E')])
def test_vgg_is_torchvisions_but_for_the_linear_layers(name, like):
    """Its feature extractor without the last pooling, which ours averages instead."""
    ours = randomize_norms(build_cifar_classifier(name, 10)).backbone
    reference = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[like], True)
    theirs = copy_in_order(ours, reference[:-1])
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(images)[-1], theirs(images), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(('in_channels', 'stride'), [(8, 1), (4, 1), (4, 2)])
def test_basic_block_is_torchvisions(in_channels, stride):
    ours = randomize_norms(basic_block(in_channels, 8, stride))
    shortcut = None
    if (in_channels, stride) != (8, 1):
        shortcut = torch.nn.Sequential(
            torch.nn.Conv2d(in_channels, 8, 1, stride, bias=False), torch.nn.BatchNorm2d(8)
        )
    theirs = torchvision.models.resnet.BasicBlock(in_channels, 8, stride, shortcut)
    copy_in_order(ours, theirs)
    x = torch.randn(2, in_channels, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x))


@torch.no_grad()
@pytest.mark.parametrize(('in_channels', 'stride'), [(8, 1), (4, 1), (8, 2)])
def test_inverted_residual_is_torchvisions_with_relu(in_channels, stride):
    ours = randomize_norms(InvertedResidual(in_channels, 8, stride, expand_ratio=6))
    theirs = torchvision.models.mobilenetv2.InvertedResidual(in_channels, 8, stride, 6)
    copy_in_order(ours, theirs)
    x = torch.randn(2, in_channels, 6, 6)
    # Inputs this small keep ReLU6 below 6, where the two agree.
    torch.testing.assert_close(ours(x), theirs(x))
    assert (ours(x) < 0).any()


@torch.no_grad()
def test_shufflenet_v2_blocks_are_torchvisions():
    reference = torchvision.models.shufflenetv2.InvertedResidual
    x = torch.randn(2, 8, 6, 6)
    ours = randomize_norms(ShuffleNetV2Block(8))
    torch.testing.assert_close(ours(x), copy_in_order(ours, reference(8, 8, 1))(x))
    ours = randomize_norms(ShuffleNetV2DownBlock(8, 12))
    torch.testing.assert_close(ours(x), copy_in_order(ours, reference(8, 12, 2))(x))


@torch.no_grad()
def test_shufflenet_v1_block():
    """Against the literature's block, written with PyTorch's own shuffle."""
    x = torch.randn(2, 24, 7, 7)

    def branch(block):
        kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d)
        layers = [m for m in block.branch.modules() if isinstance(m, kinds)]
        conv1, norm1, depthwise, norm2, conv2, norm3 = layers
        assert (conv1.groups, depthwise.groups, conv2.groups) == (3, conv1.out_channels, 3)
        out = F.channel_shuffle(F.relu(norm1(conv1(x))), 3)
        return norm3(conv2(F.relu(norm2(depthwise(out)))))

    block = randomize_norms(ShuffleNetV1Block(24, 24, 1, groups=3, first_groups=3))
    torch.testing.assert_close(block(x), F.relu(branch(block) + x))

    block = randomize_norms(ShuffleNetV1Block(24, 60, 2, groups=3, first_groups=3))
    out = block(x)
    assert out.shape == (2, 60, 4, 4)
    torch.testing.assert_close(out[:, :36], F.relu(branch(block)))
    averaged = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=2)
    torch.testing.assert_close(out[:, 36:], F.relu(averaged))


@torch.no_grad()
def test_pre_activation():
    """No ReLU and no norm on the way through; a changed width takes the activated input."""
    x = torch.randn(2, 4, 6, 6)
    block = randomize_norms(PreActivationBlock(4, 4, 1))
    norm1, conv1, norm2, conv2 = (
        block.activate[0],
        block.branch[0],
        block.branch[1],
        block.branch[3],
    )
    expected = x + conv2(F.relu(norm2(conv1(F.relu(norm1(x))))))
    torch.testing.assert_close(block(x), expected)
    conv2.weight.zero_()
    assert torch.equal(block(x), x)

    block = randomize_norms(PreActivationBlock(4, 8, 2))
    block.branch[3].weight.zero_()
    expected = F.conv2d(F.relu(block.activate[0](x)), block.shortcut.weight, stride=2)
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
def test_wide_resnet_closes_with_norm_and_relu():
    model = randomize_norms(build_cifar_classifier('wrn_16_1', 5))
    images = torch.randn(2, 3, 32, 32)
    last = model.features(images)[-1]
    assert (last < 0).any()
    torch.testing.assert_close(model.backbone(images)[-1], F.relu(model.backbone.closing[0](last)))


@pytest.mark.parametrize('name', ['resnet8', 'shufflenetv1', 'shufflenetv2'])
def test_channels_last_gives_the_same(name):
    torch.manual_seed(0)
    plain = build_cifar_classifier(name, 5)
    other = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32)
    expected = plain(images)
    logits = other(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    for output in (expected, logits):
        output.square().sum().backward()
    torch.testing.assert_close(
        other.head.fc.weight.grad, plain.head.fc.weight.grad, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize('function', [build_cifar_classifier, cifar_classifier_config])
def test_wrong_names_and_classes(function):
    with pytest.raises(ConfigError, match=r"'renset20'.*did you mean 'resnet20'.*wrn_40_2"):
        function('renset20', 10)
    with pytest.raises(ConfigError, match=r"name: \['vgg8'\]"):
        function(['vgg8'], 10)
    for wrong in (0, -1, 2.5, '10', True):
        with pytest.raises(ConfigError, match='num_classes'):
            function('vgg8', wrong)


@pytest.mark.parametrize(
    ('field', 'cfg'),
    [
        ('depth', dict(type='CIFARResNet', depth=21)),
        ('depth', dict(type='CIFARResNet', depth=2)),
        ('base_channels', dict(type='CIFARResNet', depth=8, base_channels=0)),
        ('depth', dict(type='CIFARBottleneckResNet', depth=56)),
        ('depth', dict(type='CIFARWideResNet', depth=15)),
        ('widen_factor', dict(type='CIFARWideResNet', depth=16, widen_factor=0.5)),
        ('depth', dict(type='CIFARVGG', depth=12)),
        ('depth', dict(type='CIFARVGG', depth=[8])),
        ('widen_factor', dict(type='CIFARMobileNetV2', widen_factor=0)),
        ('expand_ratio', dict(type='CIFARMobileNetV2', expand_ratio=0)),
        ('groups', dict(type='CIFARShuffleNetV1', groups=5)),
        ('widen_factor', dict(type='CIFARShuffleNetV2', widen_factor=0.7)),
    ],
)
def test_wrong_shapes_of_backbones(field, cfg):
    with pytest.raises(ConfigError, match=f'{field}: .*; valid: '):
        MODELS.build(dict(cfg, type=f'btkd_det.{cfg["type"]}'))
