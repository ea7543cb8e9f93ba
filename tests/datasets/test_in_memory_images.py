import copy

import mmengine.dataset
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor
from torch.utils.data import DataLoader
from torch.utils.data import default_collate as torch_collate

from btkd_det.datasets import InMemoryImages
from btkd_det.errors import ConfigError

from .conftest import WNIDS, Pixels

PACK = [dict(type='PackInputs')]
CROP_AND_FLIP = [dict(type='RandomCrop', crop_size=8, padding=4), dict(type='RandomFlip', prob=0.5)]
COLLATES = [mmengine.dataset.pseudo_collate, mmengine.dataset.default_collate, torch_collate]


def in_memory(count=40, **options):
    return InMemoryImages(Pixels(count=count), **options)


def same(item, other):
    samples = item['data_samples'], other['data_samples']
    return (
        torch.equal(item['inputs'], other['inputs'])
        and samples[0].gt_label.tolist() == samples[1].gt_label.tolist()
        and samples[0].sample_idx == samples[1].sample_idx
    )


def test_without_augmentation_the_items_are_those_of_the_wrapped_set():
    plain, ours = Pixels(pipeline=PACK), in_memory()
    assert len(ours) == len(plain) == 40
    assert ours.metainfo == plain.metainfo
    assert all(same(plain[i], ours[i]) for i in range(40))
    assert same(plain[39], ours[-1])
    assert list(ours.get_gt_labels()) == list(plain.get_gt_labels())
    assert ours.get_cat_ids(3) == plain.get_cat_ids(3) == [1]
    info = ours.get_data_info(3)
    assert np.array_equal(info.pop('img'), plain.get_data_info(3)['img'])
    assert info == dict(gt_label=1, sample_idx=3)


def test_with_or_without_a_pipeline_of_its_own_the_images_are_the_same():
    packed = InMemoryImages(Pixels(pipeline=PACK))
    assert torch.equal(packed.images, in_memory().images)


def test_an_item_is_augmented_too():
    ours = in_memory(crop_padding=4, flip=0.5)
    torch.manual_seed(0)
    alone = ours[7]
    torch.manual_seed(0)
    assert same(alone, {k: v[0] for k, v in ours.__getitems__([7]).items()})
    assert not torch.equal(alone['inputs'], ours.images[7])


@pytest.mark.parametrize('collate', COLLATES)
@pytest.mark.parametrize('pin_memory', [False, True])
@pytest.mark.filterwarnings('ignore:.*pin_memory')
def test_the_usual_collate_functions_leave_a_batch_as_it_is(collate, pin_memory):
    loader = DataLoader(in_memory(count=10), 4, collate_fn=collate, pin_memory=pin_memory)
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [4, 4, 2]
    images = torch.cat([batch['inputs'] for batch in batches])
    assert torch.equal(images, loader.dataset.images)
    samples = sum((batch['data_samples'] for batch in batches), [])
    assert [sample.sample_idx for sample in samples] == list(range(10))
    assert [sample.gt_label.tolist() for sample in samples] == [[7 * i % 4] for i in range(10)]


def test_images_that_are_on_an_accelerator_are_not_pinned():
    batch = in_memory(count=4).__getitems__([0, 1])
    batch['inputs'] = batch['inputs'].to('meta')
    assert batch.pin_memory()['inputs'].device.type == 'meta'
    with pytest.raises(KeyError):
        batch['labels']


def test_the_data_preprocessor_makes_the_same_of_it_as_of_single_images():
    preprocess = ClsDataPreprocessor(mean=[120, 110, 100], std=[60, 61, 62], num_classes=4)
    ours, plain = in_memory(), Pixels(pipeline=PACK)
    collate = mmengine.dataset.pseudo_collate
    for training in (True, False):
        batch = preprocess(ours.__getitems__([3, 1, 4]), training)
        other = preprocess(collate([plain[i] for i in (3, 1, 4)]), training)
        assert torch.equal(batch['inputs'], other['inputs'])
        labels = [[int(s.gt_label) for s in b['data_samples']] for b in (batch, other)]
        assert labels == [[1, 3, 0]] * 2


def test_the_global_generator_determines_the_batches():
    ours = in_memory(crop_padding=4, flip=0.5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(torch.cat([ours.__getitems__(range(40))['inputs'] for _ in range(2)]))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(*draws[0].chunk(2))


def test_views_are_k_fixed_images_of_each():
    ours = in_memory(crop_padding=4, flip=0.5, views=3, view_seed=11)
    torch.manual_seed(0)
    seen = {}
    for _ in range(60):
        batch = ours.__getitems__(range(40))
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            seen.setdefault((sample.sample_idx, sample.view), set()).add(image.numpy().tobytes())
    assert set(seen) == {(i, view) for i in range(40) for view in range(3)}
    assert {len(images) for images in seen.values()} == {1}
    fixed = ours.get_view([5, 6], 2)
    assert [(s.sample_idx, s.view) for s in fixed['data_samples']] == [(5, 2), (6, 2)]
    assert [{image.numpy().tobytes()} for image in fixed['inputs']] == [seen[5, 2], seen[6, 2]]


def test_each_view_is_drawn_equally_often():
    ours = in_memory(crop_padding=4, flip=0.5, views=4)
    torch.manual_seed(0)
    drawn = [s.view for _ in range(100) for s in ours.__getitems__(range(40))['data_samples']]
    assert np.bincount(drawn) == pytest.approx(1000, abs=3 * (4000 * 0.25 * 0.75) ** 0.5)


def test_another_view_seed_gives_other_views():
    first, same_seed, other = (
        in_memory(crop_padding=4, views=2, view_seed=seed).get_view(range(40), 1)['inputs']
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, same_seed)
    assert not torch.equal(first, other)


def test_without_views_no_sample_names_one():
    sample = in_memory(crop_padding=4).__getitems__([0])['data_samples'][0]
    assert set(sample.metainfo) == {'sample_idx', 'image_set'}


def test_every_sample_says_what_set_it_is_of_and_says_it_once():
    images = in_memory(crop_padding=4, views=3, view_seed=5)
    samples = images.__getitems__([0, 9])['data_samples']
    assert samples[0].image_set['views'] == dict(views=3, view_seed=5, crop_padding=4, flip=0.0)
    assert (samples[0].image_set['count'], samples[0].image_set['num_classes']) == (40, 4)
    # Casting copies the metainfo; what is shared stays shared.
    for sample in (*samples, samples[1].to('cpu'), copy.deepcopy(samples[0])):
        assert sample.image_set is images.description


def test_a_set_without_class_names_says_nothing_of_itself():
    images = InMemoryImages(Pixels(count=4, metainfo=dict(classes=())))
    assert images.description is None
    assert images[0]['data_samples'].metainfo == dict(sample_idx=0)


@pytest.mark.parametrize(
    ('classes', 'old_labels'), [(2, [0, 1]), (['owl', 'cat'], [3, 0]), (('hen',), [2])]
)
def test_some_of_the_classes(classes, old_labels):
    plain, ours = Pixels(pipeline=PACK), in_memory(classes=classes)
    kept = [i for i in range(40) if plain.get_cat_ids(i)[0] in old_labels]
    assert len(ours) == len(kept) == 10 * len(old_labels)
    names = plain.metainfo['classes']
    assert ours.metainfo['classes'] == tuple(names[label] for label in old_labels)
    for i, old in enumerate(kept):
        label = old_labels.index(plain.get_cat_ids(old)[0])
        item = ours[i]
        assert torch.equal(item['inputs'], plain[old]['inputs'])
        assert item['data_samples'].sample_idx == ours.get_data_info(i)['sample_idx'] == i
        assert item['data_samples'].gt_label.tolist() == ours.get_cat_ids(i) == [label]
        assert ours.get_data_info(i)['gt_label'] == label


def test_files_are_loaded_with_the_channels_as_mmpretrain_has_them(tiny_imagenet):
    wanted = dict(type='btkd_det.TinyImageNet', data_root=str(tiny_imagenet), split='val')
    ours = InMemoryImages(dict(wanted))
    pipeline = [dict(type='LoadImageFromFile'), *PACK]
    plain = DATASETS.build(dict(wanted, _scope_='mmpretrain', pipeline=pipeline))
    assert all(same(plain[i], ours[i]) for i in range(6))
    assert ours.metainfo['wnids'] == WNIDS


def test_wrapped_in_a_set_of_mmengine():
    repeated = mmengine.dataset.RepeatDataset(
        dataset=dict(type='btkd_det.InMemoryImages', dataset=Pixels(count=5)), times=3
    )
    assert len(repeated) == 15
    assert same(repeated[12], in_memory(count=5)[2])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(crop_padding=-1), 'crop_padding: -1; valid: a whole number of at least 0'),
        (dict(crop_padding=0.5), 'crop_padding: 0.5; valid: a whole number'),
        (dict(flip=1.5), 'flip: 1.5; valid: a number from 0 to 1'),
        (dict(views=0, flip=0.5), 'views: 0; valid: a whole number of at least 1, or None'),
        (dict(views=2), 'views: 2, but without crop_padding and flip'),
        (dict(view_seed=-3), 'view_seed: -3; valid: a whole number of at least 0'),
        (dict(device='gpu'), "device: 'gpu' .*; valid: cpu, cuda, auto"),
        (dict(classes=5), 'classes: 5; valid: names of classes, or a number from 1 to 4'),
        (dict(classes=0), 'classes: 0; valid'),
        (dict(classes='cat'), "classes: 'cat'; valid"),
        (dict(classes=['cat', 'dgo']), r"'dgo' is no class .*\(did you mean 'dog'\?\)"),
        (dict(classes=['cat', 'cat']), 'names a class twice'),
    ],
)
def test_invalid_values(options, message):
    with pytest.raises(ConfigError, match=message):
        in_memory(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason='is about machines without a GPU')
def test_without_a_gpu():
    assert in_memory(device='auto').images.device.type == 'cpu'
    with pytest.raises(ConfigError, match="device: 'cuda', but PyTorch finds no GPU"):
        in_memory(device='cuda')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('device', ['cuda', 'auto'])
def test_on_a_gpu_the_batches_are_those_of_the_cpu(device):
    batches = []
    for place in ('cpu', device):
        torch.manual_seed(0)
        ours = in_memory(crop_padding=4, flip=0.5, device=place)
        batches.append(ours.__getitems__(range(40))['inputs'])
    assert batches[1].device.type == 'cuda'
    assert torch.equal(batches[0], batches[1].cpu())


@pytest.mark.parametrize(
    ('free', 'place'), [(2 * 40 * 3 * 8 * 8, 'cuda'), (2 * 40 * 3 * 8 * 8 - 1, 'cpu')]
)
def test_auto_leaves_half_of_the_free_memory_to_the_training(monkeypatch, free, place):
    from btkd_det.datasets import in_memory_images

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (free, 10**12))
    images = torch.zeros(40, 3, 8, 8, dtype=torch.uint8)
    assert in_memory_images._place(images, 'auto') == place


def test_workers_are_refused():
    loader = DataLoader(in_memory(), 4, num_workers=1)
    with pytest.raises(ConfigError, match='num_workers: 1; valid is num_workers=0'):
        next(iter(loader))


def test_a_random_pipeline_is_refused():
    with pytest.raises(ConfigError, match='dataset.pipeline: RandomCrop draws at random'):
        InMemoryImages(Pixels(pipeline=[*CROP_AND_FLIP, *PACK]))


def test_images_of_different_sizes_are_refused(tiny_imagenet):
    import cv2

    path = tiny_imagenet / 'val' / 'images' / 'val_2.JPEG'
    cv2.imwrite(str(path), np.zeros((64, 60, 3), dtype=np.uint8))
    dataset = dict(type='btkd_det.TinyImageNet', data_root=str(tiny_imagenet), split='val')
    with pytest.raises(ConfigError, match=r'image 2 is \(3, 64, 60\) .* \(3, 64, 64\)'):
        InMemoryImages(dict(dataset))
    resized = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), *PACK]
    assert InMemoryImages(dict(dataset, pipeline=resized)).images.shape == (6, 3, 32, 32)


def test_missing_files_are_an_error_before_any_download(tmp_path):
    with pytest.raises(ConfigError, match='dataset.data_root: no file .*cifar-100-python/train'):
        InMemoryImages(dict(type='CIFAR100', data_root=str(tmp_path)))


@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        (dict(type='CIFAR101', data_root='x'), 'dataset: cannot be built.*CIFAR101'),
        ('data/cifar100', "dataset: 'data/cifar100' has no metainfo; valid"),
    ],
)
def test_no_data_set(dataset, message):
    with pytest.raises(ConfigError, match=message):
        InMemoryImages(dataset)


def test_real_cifar100_is_what_mmpretrain_gives(cifar100):
    plain = DATASETS.build(dict(copy.deepcopy(cifar100), pipeline=PACK))
    ours = DATASETS.build(dict(type='btkd_det.InMemoryImages', dataset=cifar100))
    assert len(ours) == len(plain) == 10000
    assert ours.metainfo['classes'] == plain.metainfo['classes']
    assert all(same(plain[i], ours[i]) for i in range(0, 10000, 7))
    pixels = np.stack([plain.get_data_info(i)['img'] for i in range(10000)])
    assert np.array_equal(ours.images.numpy(), pixels.transpose(0, 3, 1, 2))


def test_twenty_classes_of_real_cifar100(cifar100):
    ours = InMemoryImages(cifar100, crop_padding=4, flip=0.5, classes=20)
    assert np.bincount(ours.get_gt_labels()).tolist() == [100] * 20
    assert ours.metainfo['classes'][:2] == ('apple', 'aquarium_fish')
    assert len(ours.metainfo['classes']) == 20


class Interrupted(Exception):
    pass


class Recorder(mmengine.hooks.Hook):
    """Keeps every batch; stops the run after an epoch if asked to."""

    priority = 'LOWEST'

    def __init__(self, batches, stop=None):
        self.batches, self.stop = batches, stop

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        rows = [(s.sample_idx, s.get('view')) for s in data_batch['data_samples']]
        self.batches.append((runner.epoch, rows, data_batch['inputs'].clone()))

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.stop:
            raise Interrupted


class Classifier(mmengine.model.BaseModel):
    def __init__(self):
        super().__init__(ClsDataPreprocessor(mean=[120] * 3, std=[60] * 3, num_classes=4))
        self.layer = torch.nn.Linear(3 * 8 * 8, 4)

    def forward(self, inputs, data_samples, mode='tensor'):
        logits = self.layer(inputs.flatten(1))
        if mode == 'predict':
            pairs = zip(data_samples, logits.softmax(1), strict=True)
            return [s.set_pred_score(p).set_pred_label(p.argmax()) for s, p in pairs]
        labels = torch.cat([sample.gt_label for sample in data_samples])
        return dict(loss=torch.nn.functional.cross_entropy(logits, labels))


def train(work_dir, batches, views, resume=False, stop=None):
    loader = lambda **options: dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=bool(options)),
        dataset=dict(type='btkd_det.InMemoryImages', dataset=Pixels(), **options),
    )
    torch.manual_seed(0)
    model = Classifier()
    torch.seed()  # from here on only the runner's own seed may count
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader(crop_padding=2, flip=0.5, views=views),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        val_dataloader=loader(),
        val_cfg=dict(),
        val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='btkd_det.ExactResumeHook'), Recorder(batches, stop)],
        randomness=dict(seed=3),
        resume=resume,
        experiment_name=f'{work_dir.name}-{views}-{resume}',
        log_level='WARNING',
    )
    runner.train()
    assert runner.val_evaluator.dataset_meta['classes'] == Pixels.METAINFO['classes']
    return runner.model.layer.weight.detach().clone()


@pytest.mark.parametrize('views', [None, 3])
def test_a_stopped_run_resumes_as_if_it_had_not_been_stopped(tmp_path, views):
    whole, parts = [], []
    weight = train(tmp_path / 'whole', whole, views)
    with pytest.raises(Interrupted):
        train(tmp_path / 'parts', parts, views, stop=2)
    resumed = train(tmp_path / 'parts', parts, views, resume=True)
    assert len(whole) == len(parts) == 15
    for (epoch, rows, images), other in zip(whole, parts, strict=True):
        assert (epoch, rows) == other[:2]
        assert torch.equal(images, other[2])
    assert torch.equal(weight, resumed)
