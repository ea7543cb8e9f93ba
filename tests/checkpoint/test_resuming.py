"""Which checkpoint --resume takes without a path, whatever a killed run has left."""

import os

import pytest
import torch
from mmengine.config import Config

from btkd_det.checkpoint.resuming import newest_whole
from btkd_det.errors import ConfigError


def save(folder, name, age, **changes):
    """A checkpoint as a training saves one, so many seconds old."""
    content = dict(
        meta=dict(epoch=1, iter=4),
        state_dict=dict(weight=torch.zeros(2)),
        message_hub=dict(),
        optimizer=dict(),
    )
    folder.mkdir(exist_ok=True)
    path = folder / name
    torch.save({k: v for k, v in {**content, **changes}.items() if v is not None}, path)
    return aged(path, age)


def aged(path, age):
    os.utime(path, (10**9 - age, 10**9 - age))
    return str(path)


@pytest.fixture
def run(tmp_path):
    """A work dir with two checkpoints and the best one, the newest of them by the marker."""
    folder = tmp_path / 'run'
    save(folder, 'epoch_9.pth', 30)
    newest = save(folder, 'epoch_10.pth', 20)
    save(folder, 'best_coco_bbox_mAP_epoch_10.pth', 10, optimizer=None)
    (folder / 'last_checkpoint').write_text(newest)
    return folder


def choose(folder, **keys):
    return newest_whole(Config(dict(work_dir=str(folder), **keys)))


def test_the_newest_one_without_a_word(run):
    path, notes = choose(run)
    assert path == str(run / 'epoch_10.pth')
    assert notes == [
        '--resume leaves out best_coco_bbox_mAP_epoch_10.pth: is a best one, without its optimizer'
    ]


@pytest.mark.parametrize(
    ('marker', 'words'),
    [
        (None, 'there is no marker'),
        ('', 'there is no marker'),
        ('\x00\x00\x00', 'the marker names'),
        ('/elsewhere/epoch_8.pth', "the marker names 'epoch_8.pth'"),
    ],
)
def test_whatever_the_marker_says(run, marker, words):
    (run / 'last_checkpoint').unlink()
    if marker is not None:
        (run / 'last_checkpoint').write_text(marker)
    path, notes = choose(run)
    assert path == str(run / 'epoch_10.pth')
    assert f'goes on from {path}, the newest one there; {words}' in notes[-1]


def test_a_folder_that_was_moved(run, tmp_path):
    moved = run.rename(tmp_path / 'moved')
    path, notes = choose(moved)
    assert path == str(moved / 'epoch_10.pth')
    assert not any('marker' in note for note in notes)


@pytest.mark.parametrize('order', [(9, 10, 11), (11, 10, 9), (10, 11, 9)])
def test_a_folder_whose_copy_has_other_times(tmp_path, order):
    for age, epoch in enumerate(order):
        save(tmp_path, f'epoch_{epoch}.pth', age, meta=dict(epoch=epoch, iter=4 * epoch))
    (tmp_path / 'last_checkpoint').write_text('/before/epoch_11.pth')
    path, notes = choose(tmp_path)
    assert path == str(tmp_path / 'epoch_11.pth')
    assert notes == []


def test_one_that_is_later_and_further_than_the_marked_one(run):
    path = save(run, 'interrupted.pth', 5, meta=dict(epoch=1, iter=6))
    assert choose(run)[0] == path
    # An earlier training's, which was longer.
    save(run, 'epoch_12.pth', 90, meta=dict(epoch=12, iter=48))
    assert choose(run)[0] == path


@pytest.mark.parametrize('damage', ['cut off', 'empty', 'text'])
def test_one_that_is_damaged_is_left_out_and_stays(run, damage):
    path = run / 'epoch_10.pth'
    whole = path.read_bytes()
    path.write_bytes({'cut off': whole[: len(whole) // 2], 'empty': b'', 'text': b'no'}[damage])
    aged(path, 20)
    found, notes = choose(run)
    assert found == str(run / 'epoch_9.pth')
    assert any('leaves out epoch_10.pth: cannot be read' in note for note in notes)
    assert path.is_file()


def test_weights_alone_are_none_to_go_on_with(run):
    save(run, 'published.pth', 5, message_hub=None, optimizer=None)
    path, notes = choose(run)
    assert path == str(run / 'epoch_10.pth')
    assert 'leaves out published.pth: holds weights alone' in notes[0]


def test_what_lies_where_the_hook_saves(tmp_path):
    elsewhere = tmp_path / 'disk'
    elsewhere.mkdir()
    (tmp_path / 'run').mkdir()
    newest = save(elsewhere / 'run', 'iter_5.pth', 5)
    hooks = dict(checkpoint=dict(type='CheckpointHook', out_dir=str(elsewhere)))
    assert choose(tmp_path / 'run', default_hooks=hooks)[0] == newest


@pytest.mark.parametrize('there', [True, False])
def test_without_any_the_training_begins(tmp_path, there):
    folder = tmp_path / 'run'
    if there:
        folder.mkdir()
    path, notes = choose(folder)
    assert path is None
    assert notes == [f'--resume finds no checkpoint in {folder}: the training begins']


def test_with_damaged_ones_alone_nothing_is_written_over(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (tmp_path / name).write_bytes(b'')
    with pytest.raises(ConfigError, match=r'epoch_1.pth: cannot be read.*--resume CKPT, or anoth'):
        choose(tmp_path)
