"""Images that cannot be read: left out where the config says so, else one line with the path."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from PIL import Image

from btkd_det.errors import ConfigError
from btkd_det.preflight import check_data
from btkd_det.preflight.unreadable import readable
from btkd_det.report import rows
from btkd_det.report.loaders import one_pass
from tests.classifiers import write_images

TOOLS = Path(__file__).parents[2] / 'tools'
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]


def run_tool(monkeypatch, name, *arguments):
    path = TOOLS / f'{name}.py'
    monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name='__main__')


@pytest.fixture
def bad(folder):
    """One image of the folder is cut off, and the config says that such images are skipped."""
    (folder / '1.png').write_bytes((folder / '1.png').read_bytes()[:60])
    cfg = Config.fromfile(folder / 'config.py')
    cfg.on_bad_image = 'skip'
    cfg.val_dataloader = dict(cfg.train_dataloader)
    cfg.dump(folder / 'config.py')
    return folder


@pytest.mark.parametrize('tool', ['bias_report', 'class_means'])
def test_the_commands_skip_what_training_skips(monkeypatch, bad, tool):
    given = [bad / 'config.py', bad / 'teacher.pth', '--out', bad / 'out', '--device', 'cpu']
    run_tool(monkeypatch, tool, *given)
    assert (bad / 'out').exists()
    if tool == 'bias_report':
        (stage,) = json.loads((bad / 'out' / 'bias.json').read_text())['stages']
        assert stage['rows'] == 4 * 32


@pytest.mark.parametrize('options', [['--data', 'val'], ['--cfg-options', 'on_bad_image=error']])
def test_what_cannot_be_skipped_is_refused_in_one_line(monkeypatch, bad, options):
    given = [bad / 'config.py', bad / 'teacher.pth', '--out', bad / 'out', '--device', 'cpu']
    with pytest.raises(SystemExit, match=rf'^error: .*_dataloader.dataset: {bad}/1.png: ') as end:
        run_tool(monkeypatch, 'bias_report', *given, *options)
    assert '\n' not in str(end.value)
    assert not (bad / 'out').exists()


def test_what_loads_comes_first_within_what_skips():
    flip = dict(type='RandomFlip', prob=0.5)
    skipping = dict(type='btkd_det.SkipBadImages', transforms=[LOAD[0], flip, LOAD[1]])
    loader = dict(dataset=dict(type='CocoDataset', pipeline=[skipping]))
    (step,) = one_pass(loader)['dataset']['pipeline']
    assert step['transforms'] == [*LOAD, flip]
    assert skipping['transforms'] == [LOAD[0], flip, LOAD[1]]


def classes(folder, workers=0):
    """A config of twelve images in class folders, and one of the images."""
    write_images(folder / 'data')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root=str(folder / 'data'), pipeline=pipeline)
    loader = dict(batch_size=2, num_workers=workers, dataset=dataset)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    cfg = Config(dict(default_scope='mmpretrain', train_dataloader=loader))
    return cfg, sorted((folder / 'data').rglob('*.png'))[5]


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('kind', ['cut off', 'empty', 'gone'])
def test_an_image_that_no_check_found_is_named_in_the_walk(tmp_path, workers, kind):
    pytest.importorskip('mmpretrain')
    cfg, path = classes(tmp_path, workers)
    content = {'cut off': path.read_bytes()[:60], 'empty': b''}.get(kind)
    if content is not None:
        path.write_bytes(content)
    found = rows.data(cfg)
    if content is None:
        path.unlink()
    with pytest.raises(ConfigError) as caught:
        list(found.batches)
    text = str(caught.value)
    assert text.startswith(f'CONFIG.train_dataloader.dataset: {path}: ')
    assert '(1 of 12 images are bad); valid: ' in text
    assert '\n' not in text


@pytest.mark.parametrize('done', [0, 3])
def test_a_cache_that_cannot_be_finished_names_the_image(tmp_path, monkeypatch, done):
    pytest.importorskip('mmpretrain')
    from btkd_det.teacher.cache import gathering

    cfg, path = classes(tmp_path)
    cfg.model = dict(teacher=dict(config='t.py', checkpoint='t.pth'))
    path.write_bytes(b'')
    gather = runpy.run_path(str(TOOLS / 'cache_teacher.py'))['gather']
    monkeypatch.setattr(gathering, 'gather', lambda model, batches, *rest: list(batches))
    with pytest.raises(ConfigError, match=rf'^CONFIG.train_dataloader.dataset: {path}: an empty'):
        gather(cfg, None, (1, 12, 3), SimpleNamespace(done=done))


def failing(error):
    yield 1
    raise error


def test_data_that_name_no_files_give_the_error_itself():
    error = OSError('a traceback\nOSError: no device')
    batches = readable(failing(error), object(), {}, 'CONFIG.train_dataloader.dataset')
    assert next(batches) == 1
    line = r'^CONFIG.train_dataloader.dataset: OSError: no device; valid: '
    with pytest.raises(ConfigError, match=line):
        next(batches)


def test_a_fault_of_a_transform_is_none_of_an_image():
    with pytest.raises(KeyError, match='bboxes'):
        list(readable(failing(KeyError('bboxes')), object(), {}, 'F'))


def test_a_cache_refuses_to_skip_before_anything_is_built(monkeypatch, bad):
    given = [bad / 'config.py', '--out', bad / 'cache.pt', '--device', 'cpu']
    with pytest.raises(SystemExit, match=r"^error: CONFIG.on_bad_image: 'skip', but a cache"):
        run_tool(monkeypatch, 'cache_teacher', *given)
    assert not (bad / 'cache.pt').exists()


def test_a_size_that_validation_cannot_use_is_not_skipped(folder):
    Image.new('RGB', (4000, 2)).save(folder / '1.png')
    annotations = json.loads((folder / 'train.json').read_text())
    annotations['images'][1].update(width=4000, height=2)
    annotations['annotations'][1].update(bbox=[0, 0, 2, 2], area=4)
    (folder / 'train.json').write_text(json.dumps(annotations))
    cfg = Config.fromfile(folder / 'config.py')
    cfg.on_bad_image = 'skip'
    resize = dict(type='Resize', scale=(16, 16), keep_ratio=True)
    cfg.train_dataloader.dataset.pipeline.insert(2, resize)
    cfg.val_dataloader = dict(cfg.train_dataloader)
    check_data(cfg, ('train_dataloader',))
    with pytest.raises(ConfigError, match=r'^val_dataloader.dataset.pipeline: fails at .*1.png, '):
        check_data(cfg, ('val_dataloader',))
