"""The recipes: what they say, that each builds and trains a step, and that their files are they."""

import copy
import importlib.util
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import METRICS, MODELS, init_default_scope
from torch import nn

from btkd_det import preflight
from btkd_det.datasets import InMemoryImages
from btkd_det.errors import ConfigError
from btkd_det.models.teacher import Teacher
from btkd_det.provenance import OF_TEACHER
from btkd_det.recipes import DATASETS, METHODS, combinations, config_text, file_name, recipe
from btkd_det.recipes.recipe import scaled_milestones
from btkd_det.registry import check_keys
from btkd_det.teacher_cache import OF_DATA, write_cache

pytest.importorskip('mmpretrain', reason='recipes need mmpretrain: btkd_det[classification]')

ROOT = Path(__file__).parents[1]
FOLDERS = tuple(DATASETS)
KEPT = sorted(path for name in FOLDERS for path in (ROOT / 'configs' / name).glob('*.py'))
PROTOCOLS = [(dataset, name) for dataset, plans in DATASETS.items() for name in plans]
PAIR = dict(teacher='resnet56', student='resnet20')
SMALL = dict(dataset='cifar100', **PAIR)


@pytest.fixture(autouse=True)
def _default_data(monkeypatch):
    for plans in DATASETS.values():
        for plan in plans.values():
            monkeypatch.delenv(plan.images.variable, raising=False)


def build(cfg):
    """The model, with weights at random where a checkpoint is missing."""
    init_default_scope(cfg.default_scope)
    model = copy.deepcopy(cfg.model)
    if model.get('teacher') and 'cache' not in model.teacher:
        model.teacher.checkpoint = None
    model.data_preprocessor = cfg.data_preprocessor
    torch.manual_seed(0)
    return MODELS.build(model)


def batch_of(count, size, num_classes, **metainfo):
    from mmpretrain.structures import DataSample

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    samples = [
        DataSample(metainfo=dict(sample_idx=i, **metainfo)).set_gt_label(i % num_classes)
        for i in range(count)
    ]
    return dict(inputs=list(images), data_samples=samples)


def one_step(cfg, count=2, size=32, **metainfo):
    """The losses of a step, halfway through the training, IKD's table having been filled."""
    hub = MessageHub.get_instance('test_recipes')
    for key, value in dict(iter=50, epoch=5, max_iters=100, max_epochs=10).items():
        hub.update_info(key, value)
    model = build(cfg).train()
    logits = model.get_submodule('distill')['logits'] if model.__dict__.get('teacher') else ()
    for loss in logits:
        if hasattr(loss, 'class_means'):
            loss.update(torch.randn(8, loss.num_classes), torch.arange(8) % 4)
    num_classes = cfg.model.head.num_classes
    data = model.data_preprocessor(batch_of(count, size, num_classes, **metainfo), training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None for p in model.parameters())
    return model, losses


def small_size(cfg):
    """Few pixels, so that ImageNet's networks take no second."""
    mean = cfg.data_preprocessor.mean
    return 64 if mean == [123.675, 116.28, 103.53] else 32


@pytest.mark.parametrize('method', [m for m in METHODS if m not in ('student', 'teacher')])
def test_every_method_trains_a_step(method):
    cfg = recipe(**SMALL, method=method)

    model, losses = one_step(cfg)

    terms = [name for name in losses if '.loss_' in name]
    assert len(terms) == len(METHODS[method].losses)
    assert all(losses[name] > 0 for name in terms), losses
    assert len(model.teacher.model.backbone.state_dict()) > len(model.backbone.state_dict())


@pytest.mark.parametrize('method', ['student', 'teacher'])
def test_a_network_alone_is_mmpretrains_classifier(method):
    cfg = recipe(**SMALL, method=method)

    _, losses = one_step(cfg)

    assert list(losses) == ['loss']
    assert cfg.model.type == 'mmpretrain.ImageClassifier'
    assert cfg.model.backbone.depth == dict(student=20, teacher=56)[method]


@pytest.mark.parametrize(
    'pair', DATASETS['cifar100']['common'].pairs, ids=lambda pair: '-'.join(pair)
)
def test_every_pair_trains_a_step(pair):
    cfg = recipe('cifar100', *pair, method='btkd-ikd')

    _, losses = one_step(cfg)

    assert losses['distill.logits.loss_btkd'] > 0


@pytest.mark.parametrize(
    ('dataset', 'protocol', 'pair', 'method'),
    [
        ('cifar10', 'common', ('wrn_40_2', 'wrn_16_2'), 'dkd'),
        ('cifar10', 'btkd', ('resnet50', 'resnet18'), 'btkd-kd'),
        ('cifar100', 'btkd', ('resnet50', 'resnet18'), 'btkd-kd'),
        ('tiny_imagenet', 'common', ('resnet32x4', 'resnet8x4'), 'ikd-nkd'),
        ('imagenet', 'common', ('resnet34', 'resnet18'), 'btkd-dkd'),
    ],
)
def test_every_protocol_trains_a_step(dataset, protocol, pair, method):
    cfg = recipe(dataset, *pair, method, protocol=protocol)

    _, losses = one_step(cfg, size=64 if cfg.model.head.num_classes != 10 else small_size(cfg))

    assert len(losses) > len(METHODS[method].losses)
    assert cfg.model.head.num_classes == DATASETS[dataset][protocol].images.num_classes


def test_mobilenet_v1_trains_a_step():
    _, losses = one_step(recipe('imagenet', 'resnet50', 'mobilenetv1', 'kd'), size=64)

    assert losses['distill.logits.loss_kd'] > 0


def test_mobilenet_v1_comes_from_timm():
    cfg = recipe('imagenet', 'resnet50', 'mobilenetv1', 'dkd')

    assert cfg.model.backbone.type == 'mmpretrain.TIMMBackbone'
    assert cfg.model.distill.logits.beta == 2.0


def needs_timm(*args, **kwargs):
    """What MMPretrain puts in the place of a constructor whose package is not there."""
    raise ImportError('TIMMBackbone requires timm, please install it by `pip install "timm"`.')


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        ('package', r'requires timm, please install it by `pip install "timm"`'),
        ('model_name', r'Unknown model \(mobilenetv0\)'),
    ],
)
def test_what_timm_lacks_is_one_error_of_the_config(wrong, words, monkeypatch):
    from mmpretrain.models import TIMMBackbone

    cfg = recipe('imagenet', 'resnet50', 'mobilenetv1', 'student')
    if wrong == 'package':
        monkeypatch.setattr(TIMMBackbone, '__init__', needs_timm)
    else:
        cfg.model.backbone.model_name = 'mobilenetv0'

    with pytest.raises(ConfigError, match=f'^model: cannot be built: .*{words}'):
        preflight.build_model(cfg)
    with pytest.raises(ConfigError, match=f'^teacher.config: the model cannot be built: .*{words}'):
        Teacher(cfg.to_dict(), checkpoint=None)


def flat(loss):
    """A loss's type and arguments, a host's beside BTKD's."""
    return loss.to_dict() | (loss.loss.to_dict() if 'loss' in loss else {})


@pytest.mark.parametrize(
    ('method', 'cross_entropy', 'losses'),
    [
        ('kd', 0.1, [dict(temperature=4.0, loss_weight=0.9)]),
        ('dkd', 1.0, [dict(alpha=1.0, beta=8.0, temperature=4.0, warmup=20 / 240)]),
        ('nkd', 1.0, [dict(gamma=1.5, temperature=1.0)]),
        ('wttm', 1.0, [dict(gamma=0.3, beta=1.5)]),
        ('btkd-kd', 0.1, [dict(temperature=4.0, loss_weight=0.9)]),
        ('btkd-dkd', 1.0, [dict(alpha=1.0, beta=8.0, temperature=4.0, warmup=20 / 240)]),
        ('ikd-kd', 0.1, [dict(loss_weight=0.9), dict(temperature=1.0, loss_weight=2.0)]),
        ('ikd-dkd', 1.0, [dict(beta=8.0), dict(temperature=1.0, loss_weight=6.5)]),
        ('ikd-nkd', 1.0, [dict(gamma=1.5), dict(temperature=1.0, loss_weight=6.0)]),
        ('ikd-wttm', 1.0, [dict(gamma=0.3), dict(temperature=1.0, loss_weight=2.0)]),
        ('btkd-ikd', 0.1, [dict(loss_weight=0.9), dict(temperature=1.0, loss_weight=2.0)]),
    ],
)
def test_weights_on_cifar(method, cross_entropy, losses):
    model = recipe(**SMALL, method=method).model

    found = (
        model.distill.logits if isinstance(model.distill.logits, list) else [model.distill.logits]
    )
    assert model.head.loss.loss_weight == cross_entropy
    assert len(found) == len(losses)
    for loss, expected in zip(found, losses, strict=True):
        assert flat(loss) | expected == flat(loss)
    assert ('btkd_det.BTKDLoss' in [loss.type for loss in found]) == method.startswith('btkd')
    assert ('btkd_det.IKDLoss' in [loss.type for loss in found]) == ('ikd' in method)


def test_a_plain_loss_is_what_btkd_and_ikd_change():
    for host in ('kd', 'dkd'):
        plain = recipe(**SMALL, method=host).model.distill.logits.to_dict()
        assert recipe(**SMALL, method=f'btkd-{host}').model.distill.logits.loss.to_dict() == plain
        assert recipe(**SMALL, method=f'ikd-{host}').model.distill.logits[0].to_dict() == plain


def test_ikd_and_classes_are_counted():
    cfg = recipe(**SMALL, method='ikd-kd', data='memory', classes=20)

    assert cfg.model.distill.logits[1].num_classes == 20
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 20
    assert cfg.model.teacher.config.model.head.num_classes == 20
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        assert loader.dataset.classes == 20


@pytest.mark.parametrize(
    ('student', 'lr'),
    [('resnet20', 0.05), ('mobilenetv2', 0.01), ('shufflenetv1', 0.01), ('shufflenetv2', 0.01)],
)
def test_common_protocol(student, lr):
    cfg = recipe('cifar100', student=student)

    expected = dict(type='SGD', lr=lr, momentum=0.9, weight_decay=5e-4)
    assert cfg.optim_wrapper.optimizer.to_dict() == expected
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.train_cfg.max_epochs == 240
    assert cfg.param_scheduler[0].milestones == [150, 180, 210]
    assert cfg.param_scheduler[0].gamma == 0.1
    crop, flip, _ = cfg.train_dataloader.dataset.pipeline
    assert (crop.crop_size, crop.padding, flip.prob) == (32, 4, 0.5)


def test_btkd_authors_protocol():
    cfg = recipe('cifar100', 'resnet50', 'resnet18', 'btkd-kd', protocol='btkd')

    assert cfg.optim_wrapper.optimizer.to_dict() == dict(type='Adam', lr=1e-4)
    assert cfg.model.head.loss.loss_weight == 0.5
    assert cfg.model.distill.logits.loss.loss_weight == 0.5
    assert cfg.model.distill.logits.loss.temperature == 4.0
    assert cfg.train_dataloader.dataset.pipeline[1].scale == 224
    warm = recipe('cifar10', 'resnet50', 'resnet18', 'btkd-kd', protocol='btkd', temperature=5.0)
    assert warm.model.distill.logits.loss.temperature == 5.0


@pytest.mark.parametrize(
    ('options', 'lr', 'batch'),
    [({}, 0.1, 256), (dict(batch_size=512), 0.2, 512), (dict(batch_size=512, gpus=8), 0.2, 64)],
)
def test_imagenet_protocol(options, lr, batch):
    cfg = recipe('imagenet', 'resnet34', 'resnet18', 'kd', **options)

    assert cfg.optim_wrapper.optimizer.lr == lr
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.train_cfg.max_epochs == 100
    assert cfg.param_scheduler[0].milestones == [30, 60, 90]
    assert (cfg.model.head.loss.loss_weight, cfg.model.distill.logits.loss_weight) == (0.5, 0.5)
    assert cfg.model.distill.logits.temperature == 1.0
    assert cfg.model.teacher.checkpoint == 'pretrained'


@pytest.mark.parametrize(
    ('epochs', 'milestones'),
    [(240, [150, 180, 210]), (480, [300, 360, 420]), (12, [8, 9, 11]), (5, [3, 4]), (1, [])],
)
def test_milestones_scale_with_the_epochs(epochs, milestones):
    assert scaled_milestones((150, 180, 210), 240, epochs) == milestones
    cfg = recipe('cifar100', student='resnet20', epochs=epochs)
    assert [m for step in cfg.param_scheduler for m in step.milestones] == milestones
    assert cfg.train_cfg.max_epochs == epochs


def test_the_warm_up_is_a_share_of_any_training():
    short, long = (recipe(**SMALL, method='dkd', epochs=epochs) for epochs in (12, 240))

    assert short.model.to_dict() == long.model.to_dict()


def tiny_imagenet(folder):
    """The files that Tiny-ImageNet knows its classes by, without the images."""
    (folder / 'train').mkdir()
    (folder / 'val' / 'images').mkdir(parents=True)
    (folder / 'val' / 'val_annotations.txt').write_text('')
    names = [f'n{number:08d}' for number in range(200)]
    (folder / 'wnids.txt').write_text('\n'.join(names))
    (folder / 'words.txt').write_text('\n'.join(f'{name}\tclass {name}' for name in names))
    return str(folder)


@pytest.mark.parametrize(('dataset', 'protocol'), PROTOCOLS)
@pytest.mark.parametrize('data', ['files', 'memory'])
def test_what_stands_beside_the_model_builds(dataset, protocol, data, tmp_path):
    plan = DATASETS[dataset][protocol]
    if data == 'memory' and plan.images.padding is None:
        with pytest.raises(ConfigError, match="valid: 'files'"):
            recipe(dataset, *plan.pairs[0], 'kd', protocol=protocol, data=data)
        return
    root = tiny_imagenet(tmp_path) if dataset == 'tiny_imagenet' else None
    cfg = recipe(dataset, *plan.pairs[0], 'kd', protocol=protocol, data=data, data_root=root)
    init_default_scope(cfg.default_scope)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        wrapped = copy.deepcopy(loader.dataset)
        inner = wrapped if data == 'files' else wrapped.dataset
        built = MMENGINE_DATASETS.build(inner | dict(lazy_init=True))
        assert isinstance(built, BaseDataset)
        assert len(built.metainfo['classes']) == cfg.model.head.num_classes
        if data == 'memory':
            check_keys(InMemoryImages, {k: v for k, v in wrapped.items() if k != 'type'}, 'dataset')
            assert loader.num_workers == 0
        else:
            assert built.pipeline.transforms
    METRICS.build(cfg.test_evaluator)
    assert build_optim_wrapper(nn.Linear(2, 2), cfg.optim_wrapper).optimizer.param_groups


def test_only_the_training_images_are_augmented():
    cfg = recipe('tiny_imagenet', student='resnet20', data='memory', views=4)

    drawn = {'crop_padding', 'flip', 'views'}
    assert drawn <= set(cfg.train_dataloader.dataset)
    assert not drawn & set(cfg.test_dataloader.dataset)
    assert cfg.test_dataloader.dataset.dataset.split == 'val'


@pytest.mark.parametrize(('dataset', 'padding'), [('cifar10', 4), ('tiny_imagenet', 8)])
def test_both_ways_to_read_the_data_augment_alike(dataset, padding):
    files, memory = (
        recipe(dataset, student='resnet20', data=data).train_dataloader.dataset
        for data in ('files', 'memory')
    )

    crop, flip = (step for step in files.pipeline if step.type.startswith('Random'))
    assert crop.padding == memory.crop_padding == padding
    assert flip.prob == memory.flip == 0.5


def test_with_a_cache_no_teacher_is_built(tmp_path):
    header = dict.fromkeys((*OF_DATA, *OF_TEACHER), 'x')
    header.update(count=3, num_classes=100, views=dict(views=2))
    file = tmp_path / 'cache.pt'
    write_cache(file, torch.randn(2, 3, 100), header)
    cfg = recipe(
        **SMALL,
        method='btkd-kd',
        data='memory',
        views=2,
        cache=str(file),
        teacher_checkpoint='x',
    )

    # The file of another network, as the header's digest says, is refused: see the cache's tests.
    del cfg.model.teacher['config']
    model, losses = one_step(cfg, view=1)

    assert losses['distill.logits.loss_btkd'] > 0
    assert not list(model.teacher.parameters())
    assert cfg.train_dataloader.dataset.views == 2


@pytest.mark.parametrize(('dataset', 'protocol'), PROTOCOLS)
def test_every_combination_has_a_recipe_and_a_name_of_its_own(dataset, protocol):
    every = combinations(dataset, protocol)

    names = {file_name(**one) for one in every}
    assert len(names) == len(every)
    pairs = DATASETS[dataset][protocol].pairs
    networks = {network for pair in pairs for network in pair}
    assert len(every) == len(pairs) * (len(METHODS) - 2) + len(networks)
    for one in every[:: max(len(every) // 12, 1)]:
        recipe(**one)


def test_common_cifar_pairs():
    pairs = DATASETS['cifar100']['common'].pairs

    assert len(pairs) == 13
    assert DATASETS['cifar10']['common'].pairs == DATASETS['tiny_imagenet']['common'].pairs == pairs


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(dataset='cifar'), ["dataset: 'cifar'", "did you mean 'cifar10", 'imagenet']),
        (dict(dataset='imagenet', protocol='btkd'), ["protocol: 'btkd'", 'valid: common']),
        (dict(method='bktd'), ["method: 'bktd'", "did you mean 'btkd'", 'ikd-wttm']),
        (
            dict(student='resnet33'),
            ["student: 'resnet33'", "did you mean 'resnet32"],
        ),
        (dict(student=None), ['student: None, which is no network', 'resnet20']),
        (
            dict(method='student', student='resnet21'),
            ["student: 'resnet21', ", 'resnet20'],
        ),
        (
            dict(method='teacher', teacher='wrn'),
            ["teacher: 'wrn', which is no", 'wrn_16_1'],
        ),
        (dict(data='disk'), ["data: 'disk'", 'files, memory']),
        (dict(epochs=0), ['epochs: 0', 'of at least 1']),
        (dict(batch_size=2.5), ['batch_size: 2.5']),
        (dict(gpus=3), ['gpus: 3', '64']),
        (dict(views=2), ['views: 2', "data='memory'"]),
        (dict(classes=20), ['classes: 20', "data='memory'"]),
        (dict(classes=101, data='memory'), ['classes: 101', '2 to 100']),
        (dict(cache='x', data='memory'), ["cache: 'x'", 'views=K']),
        (dict(cache='x', method='student'), ["cache: 'x'", 'no teacher', 'btkd-ikd']),
        (
            dict(teacher_checkpoint='x', method='student'),
            ["teacher_checkpoint: 'x'", "'student' has no teacher", 'kd, dkd'],
        ),
        (dict(teacher_checkpoint='x', method='teacher'), ['teacher_checkpoint', "'teacher' has"]),
        (
            dict(temperature=3.0, method='student'),
            ['temperature: 3.0', "'student'", 'kd, btkd, btkd-kd, ikd-kd, btkd-ikd'],
        ),
        (
            dict(temperature=3.0, method='nkd'),
            ['temperature: 3.0', "'nkd'", 'methods kd, btkd, btkd-kd'],
        ),
        (dict(temperature=-1.0), ['temperature: -1.0', 'above 0']),
        (dict(temperature=0), ['temperature: 0', 'above 0']),
        (dict(temperature=float('nan')), ['temperature: nan', 'above 0']),
        (dict(temperature='4'), ["temperature: '4'", 'above 0']),
        (dict(epochs=1, method='ikd-kd'), ['epochs: 1', "'ikd-kd'", 'collect_epochs=1', 'more']),
    ],
)
def test_wrong_input_is_told(arguments, words):
    with pytest.raises(ConfigError) as error:
        recipe(**{**SMALL, 'method': 'kd', **arguments})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(SMALL, method='btkd-ikd'),
        dict(SMALL, method='kd', data='memory', views=4, cache='c.pt', classes=20, epochs=5),
        dict(dataset='cifar10', student='vgg8', data_root='elsewhere/cifar'),
        dict(
            dataset='cifar10', teacher='resnet50', student='resnet18', method='kd', protocol='btkd'
        ),
        dict(dataset='tiny_imagenet', teacher='vgg13', student='vgg8', method='dkd'),
        dict(dataset='imagenet', teacher='resnet34', student='resnet18', method='ikd-dkd'),
    ],
)
def test_a_file_says_what_the_recipe_says(arguments, tmp_path):
    cfg = recipe(**arguments)
    where = {k: arguments[k] for k in ('dataset', 'method', 'protocol') if k in arguments}
    text = config_text(cfg, **{'method': 'student', **where})
    path = tmp_path / 'recipe.py'
    path.write_text(text)

    assert Config.fromfile(path).to_dict() == cfg.to_dict()
    assert max(map(len, text.splitlines())) <= 100


def loss_line(arguments):
    where = {k: arguments[k] for k in ('dataset', 'method', 'protocol') if k in arguments}
    text = config_text(recipe(**arguments), **{'method': 'student', **where})
    head = text.partition('\ndefault_scope')[0].replace('\n# ', ' ')
    assert head.count('Loss: ') == 1
    return head.partition('Loss: ')[2]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (dict(SMALL, method='student'), 'cross entropy.'),
        (dict(SMALL, method='teacher'), 'cross entropy.'),
        (dict(SMALL, method='kd'), '0.1 cross entropy + 0.9 KD (T 4).'),
        (dict(SMALL, method='kd', temperature=3), '0.1 cross entropy + 0.9 KD (T 3).'),
        (dict(SMALL, method='nkd'), 'cross entropy + NKD (gamma 1.5, T 1).'),
        (dict(SMALL, method='btkd-kd'), '0.1 cross entropy + BTKD around 0.9 KD (T 4).'),
        (
            dict(SMALL, method='ikd-dkd'),
            'cross entropy + DKD (alpha 1, beta 8, T 4, warmup 0.0833) '
            '+ 6.5 IKD (T 1, collect_epochs 1).',
        ),
        (
            dict(dataset='imagenet', teacher='resnet50', student='mobilenetv1', method='dkd'),
            'cross entropy + DKD (alpha 1, beta 2, T 1, warmup 0.01).',
        ),
        (
            dict(
                dataset='cifar10',
                teacher='resnet50',
                student='resnet18',
                method='kd',
                protocol='btkd',
            ),
            "0.5 cross entropy + 0.5 KD (T 4). Of KD's T: their code for CIFAR has 4, the paper 5.",
        ),
        (
            dict(dataset='cifar10', student='resnet18', method='student', protocol='btkd'),
            'cross entropy.',
        ),
    ],
)
def test_a_file_says_what_its_own_network_minimizes(arguments, words):
    assert loss_line(arguments) == words


@pytest.mark.parametrize('method', METHODS)
def test_no_file_speaks_of_a_loss_that_it_does_not_have(method):
    text = config_text(recipe(**SMALL, method=method), 'cifar100', method)
    said = loss_line(dict(SMALL, method=method)).rstrip('.').split()

    for name in ('BTKD', 'IKD', 'KD', 'NKD', 'WTTM', 'DKD'):
        assert (name in said) == (f'.{name}Loss' in text), name


def test_ikd_trains_from_two_epochs_on():
    assert recipe(**SMALL, method='ikd-kd', epochs=2).train_cfg.max_epochs == 2
    assert recipe(**SMALL, method='kd', epochs=1).train_cfg.max_epochs == 1


def test_the_environment_moves_the_data(tmp_path, monkeypatch):
    path = tmp_path / 'recipe.py'
    path.write_text(config_text(recipe('cifar100', student='resnet20'), 'cifar100', 'student'))
    monkeypatch.setenv('CIFAR100_ROOT', '/elsewhere')

    for cfg in (Config.fromfile(path), recipe('cifar100', student='resnet20')):
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            assert loader.dataset.data_root == '/elsewhere'
    text = config_text(recipe('cifar100', student='resnet20'), 'cifar100', 'student')
    assert 'elsewhere' not in text


def load_tool():
    spec = importlib.util.spec_from_file_location('make_recipe', ROOT / 'tools/make_recipe.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_writes_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tool = load_tool()

    command = 'cifar100 --teacher vgg13 --student vgg8 --method dkd --epochs 24 --batch-size 32'
    path = tool.write(tool.parse_args(shlex.split(command)))

    assert path == Path('work_dirs/recipes/dkd_vgg8-vgg13_cifar100.py')
    cfg = Config.fromfile(path)
    assert (
        cfg.to_dict()
        == recipe('cifar100', 'vgg13', 'vgg8', 'dkd', epochs=24, batch_size=32).to_dict()
    )
    first = path.read_text().partition('\n# Protocol')[0].replace('\n#', '')
    assert first.endswith('--student vgg8 --method dkd --epochs 24 --batch-size 32')


def test_the_command_lists_everything():
    text = load_tool().listing('cifar100', 'common')

    for word in ('wrn_40_2    shufflenetv1', *METHODS, '2203.08679', 'resnet44'):
        assert word in text


def test_the_teachers_recipe_leaves_the_weights_where_the_students_looks():
    for dataset, protocol in PROTOCOLS[:-1]:
        pair = DATASETS[dataset][protocol].pairs[0]
        student = recipe(dataset, *pair, 'kd', protocol=protocol)
        teacher = recipe(dataset, pair[0], method='teacher', protocol=protocol)
        stem = Path(file_name(dataset, pair[0], method='teacher', protocol=protocol)).stem
        epochs = teacher.train_cfg.max_epochs
        assert student.model.teacher.checkpoint == f'work_dirs/{stem}/epoch_{epochs}.pth'
        taught = student.model.teacher.config
        assert taught.data_preprocessor == teacher.data_preprocessor
        assert taught.model.backbone == teacher.model.backbone


@pytest.mark.parametrize('path', KEPT, ids=lambda path: path.name)
def test_a_kept_file_is_what_its_command_writes(path, tmp_path):
    text = path.read_text(encoding='utf-8')
    command = text.partition('# Protocol')[0].removeprefix('# Written by: ')
    tool = load_tool()
    arguments = shlex.split(command.replace('\n# ', '\n'))[2:]

    written = tool.write(tool.parse_args([*arguments, '--out', str(tmp_path / path.name)]))

    assert written.read_text(encoding='utf-8') == text
    args = tool.parse_args(arguments)
    assert path.name == file_name(
        args.dataset, args.teacher, args.student, args.method, args.protocol
    )


def test_some_files_are_kept():
    # Of Tiny-ImageNet none: its data set reads its classes when it is built.
    assert {path.parent.name for path in KEPT} == set(FOLDERS) - {'tiny_imagenet'}
