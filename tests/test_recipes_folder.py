"""Recipes of one's own folder of images: any number of classes, any sizes."""

import sys

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from btkd_det.errors import ConfigError
from btkd_det.recipes import recipe

pytest.importorskip('mmpretrain', reason='needs mmpretrain: btkd_det[classification]')

SIZES = ((40, 60), (300, 200), (33, 33))


def folder(tmp_path, train=('cat', 'dog', 'hen'), val=None):
    for split, classes in (('train', train), ('val', train if val is None else val)):
        for i, name in enumerate(classes):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for k, size in enumerate(SIZES):
                Image.new('RGB', size, (80 * i, 40 * k, 7)).save(place / f'{k}.png')
        (tmp_path / split / 'readme.txt').write_text('no class')
    return str(tmp_path)


def built(cfg):
    from mmengine.registry import DATASETS, MODELS, init_default_scope

    init_default_scope('mmpretrain')
    datasets = [DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val')]
    preprocessor = dict(cfg.data_preprocessor)
    return datasets, MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))


@pytest.mark.parametrize('count', [3, 7])
def test_classes_and_images_are_those_of_the_folder(count, tmp_path):
    names = [f'class{i}' for i in range(count)]
    cfg = recipe('folder', student='resnet18', data_root=folder(tmp_path, names))
    (train, val), model = built(cfg)
    assert train.metainfo['classes'] == val.metainfo['classes'] == tuple(names)
    assert len(train) == len(val) == 3 * count
    assert model.head.num_classes == cfg.data_preprocessor.num_classes == count
    assert cfg.val_evaluator.topk == ((1, 5) if count > 5 else (1,))
    samples = [train[i] for i in range(3)]
    assert {tuple(sample['inputs'].shape) for sample in samples} == {(3, 224, 224)}
    assert {int(val[i]['data_samples'].gt_label) for i in range(len(val))} == set(range(count))
    losses = model(
        **model.data_preprocessor(
            dict(
                inputs=[sample['inputs'] for sample in samples],
                data_samples=[sample['data_samples'] for sample in samples],
            ),
            training=True,
        ),
        mode='loss',
    )
    assert torch.isfinite(losses['loss'])


def test_a_teacher_is_that_of_its_own_recipe(tmp_path):
    data_root = folder(tmp_path)
    cfg = recipe('folder', 'resnet34', 'resnet18', 'btkd-kd', data_root=data_root)
    assert cfg.model.teacher.checkpoint == 'work_dirs/resnet34_folder/epoch_100.pth'
    assert cfg.model.teacher.config.model.head.num_classes == 3
    assert cfg.model.head.num_classes == 3


@pytest.mark.parametrize(
    ('train', 'val', 'words'),
    [
        (('cat', 'dog'), ('cat', 'hen'), 'same classes in train and val: dog, hen is in one'),
        (('cat',), None, 'has 1 classes; valid: a folder with train/CLASS'),
    ],
)
def test_classes_that_cannot_be_are_named(train, val, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        recipe('folder', student='resnet18', data_root=folder(tmp_path, train, val))


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '__MACOSX'])
@pytest.mark.parametrize('splits', [('train',), ('val',), ('train', 'val')])
def test_a_folder_that_a_program_left_is_no_class(name, splits, tmp_path):
    data_root = folder(tmp_path)
    for split in splits:
        (tmp_path / split / name).mkdir()
    with pytest.raises(ConfigError) as found:
        recipe('folder', student='resnet18', data_root=data_root)
    place = tmp_path / splits[0] / name
    assert str(found.value).startswith(f'data_root: {place}: no folder of a class')
    assert '; valid: ' in str(found.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="data_root: missing for the dataset 'folder'"):
        recipe('folder', student='resnet18')
    with pytest.raises(ConfigError, match='has no folder train; valid'):
        recipe('folder', student='resnet18', data_root=str(tmp_path))


def test_images_of_many_sizes_do_not_go_into_memory(tmp_path):
    with pytest.raises(ConfigError, match=r"data: 'memory' crops .* valid: 'files'"):
        recipe('folder', student='resnet18', data_root=folder(tmp_path), data='memory')


def test_the_command_writes_it(tmp_path, monkeypatch, capsys):
    from tools import make_recipe

    data_root, out = folder(tmp_path / 'data'), tmp_path / 'recipe.py'
    arguments = ['folder', '--data-root', data_root, '--student', 'resnet18', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['make_recipe.py', *arguments])
    make_recipe.main()
    assert f'Written: {out}' in capsys.readouterr().out
    cfg = Config.fromfile(out)
    assert cfg.data_root == data_root
    assert built(cfg)[1].head.num_classes == 3
    make_recipe.main()


@pytest.mark.parametrize(
    'name',
    [
        'd',
        'x' * 120,
        'my pictures of birds and other animals that live near the water/second  batch 2024',
        'it\'s a "quoted" name with a \\ and $HOME, long enough that its line has to be broken',
        'two\nlines\n# Protocol',
        '-' + 'a-b' * 40,
    ],
    ids=['short', 'long', 'spaces', 'quotes', 'lines', 'hyphens'],
)
def test_the_command_knows_again_what_it_wrote(name, tmp_path, monkeypatch, capfd):
    from tools import make_recipe

    monkeypatch.chdir(tmp_path)
    folder(tmp_path / name, ['a', 'b'])
    for root in (name, str(tmp_path / name)):
        arguments = ['folder', f'--data-root={root}', '--student', 'resnet18', '--out', 'r.py']
        monkeypatch.setattr(sys, 'argv', ['make_recipe.py', *arguments, '--force'])
        make_recipe.main()
        monkeypatch.setattr(sys, 'argv', ['make_recipe.py', *arguments])
        make_recipe.main()
        assert Config.fromfile('r.py').data_root == root
        assert 'usage' not in ''.join(capfd.readouterr())


@pytest.mark.parametrize('command', ["'folder", 'folder --no-such 1', '-h', 'folder --epochs x'])
def test_a_command_that_was_changed_is_an_edit(command, tmp_path, monkeypatch, capfd):
    from tools import make_recipe

    data_root, out = folder(tmp_path / 'data'), tmp_path / 'recipe.py'
    arguments = ['folder', '--data-root', data_root, '--student', 'resnet18', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['make_recipe.py', *arguments])
    make_recipe.main()
    end = out.read_text().partition('\n# Protocol: ')[2]
    out.write_text(f'# Written by: python tools/make_recipe.py {command}\n# Protocol: {end}')
    capfd.readouterr()
    with pytest.raises(SystemExit, match='was edited since it was written'):
        make_recipe.main()
    assert ''.join(capfd.readouterr()) == ''
