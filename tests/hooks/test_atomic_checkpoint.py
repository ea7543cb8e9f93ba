"""What lies on the disk while a checkpoint is written, and after a write that fails."""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.fileio import LocalBackend

from btkd_det.checkpoint.writing import atomic_path, write_text
from btkd_det.errors import ConfigError, SavingError
from btkd_det.hooks import AtomicCheckpointHook

from .toy import NEW, PLAIN, BestOfAll, Drawing, train


def saving(**options):
    return dict(checkpoint=dict(type='btkd_det.AtomicCheckpointHook', interval=1, **options))


def validation(**options):
    BestOfAll.calls = 0
    return dict(
        val_dataloader=dict(NEW, batch_size=4, dataset=Drawing(), sampler=PLAIN),
        val_evaluator=Evaluator(BestOfAll()),
        val_cfg=dict(),
        default_hooks=saving(save_best='score', rule='greater', **options),
    )


def whole(folder):
    """The names of a folder's checkpoints that can be read."""
    return {path.name for path in folder.glob('*.pth') if torch.load(path, weights_only=False)}


@pytest.fixture
def disk(monkeypatch):
    """A disk that fails at the n-th write of a checkpoint, half of it written; notes the files."""

    class Disk:
        fails_at, writes, seen = None, 0, []

    put = LocalBackend.put

    def write(self, content, path):
        disk.writes += 1
        disk.seen.append({p.name for p in Path(path).parent.glob('*.pth')})
        if disk.writes == disk.fails_at:
            Path(path).write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, content, path)

    disk = Disk()
    disk.seen = []
    monkeypatch.setattr(LocalBackend, 'put', write)
    return disk


@pytest.mark.parametrize('keep', [1, 2, -1])
def test_it_leaves_what_mmengines_leaves(tmp_path, keep):
    keys = dict(max_keep_ckpts=keep, filename_tmpl='e{}.pth')
    plain = saving(**keys)
    plain['checkpoint']['type'] = 'CheckpointHook'
    _, weight = train(tmp_path / 'plain', NEW, default_hooks=plain)
    _, same = train(tmp_path / 'atomic', NEW, default_hooks=saving(**keys))
    assert torch.equal(weight, same)
    names = [sorted(p.name for p in (tmp_path / f).glob('*.pth')) for f in ('plain', 'atomic')]
    assert names[0] == names[1] == [f'e{i}.pth' for i in (1, 2, 3)][-keep if keep > 0 else 0 :]
    assert (tmp_path / 'atomic/last_checkpoint').read_text() == str(tmp_path / 'atomic/e3.pth')
    states = [torch.load(tmp_path / f / 'e3.pth', weights_only=False) for f in ('plain', 'atomic')]
    assert states[0]['message_hub']['runtime_info'].get('keep_ckpt_ids') == states[1][
        'message_hub'
    ]['runtime_info'].get('keep_ckpt_ids')
    assert states[0].keys() == states[1].keys()


def test_the_old_one_is_there_while_the_new_one_is_written(tmp_path, disk):
    train(tmp_path, NEW, default_hooks=saving(max_keep_ckpts=1))
    assert disk.seen == [set(), {'epoch_1.pth'}, {'epoch_2.pth'}]
    assert whole(tmp_path) == {'epoch_3.pth'}


def test_the_old_best_one_likewise(tmp_path, disk):
    train(tmp_path, NEW, **validation(max_keep_ckpts=1))
    # Written each epoch: its checkpoint, the best one, its checkpoint again.
    assert disk.seen[4] == {'epoch_2.pth', 'best_score_epoch_1.pth'}
    assert disk.seen[7] == {'epoch_3.pth', 'best_score_epoch_2.pth'}
    assert whole(tmp_path) == {'epoch_3.pth', 'best_score_epoch_3.pth'}
    state = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)
    info = state['message_hub']['runtime_info']
    assert (info['best_score'], Path(info['best_ckpt']).name) == (3, 'best_score_epoch_3.pth')


@pytest.mark.parametrize('fails_at', [1, 2, 3])
def test_a_full_disk_ends_the_training_in_one_line(tmp_path, disk, fails_at):
    disk.fails_at = fails_at
    kept = f'epoch_{fails_at - 1}.pth is whole' if fails_at > 1 else 'there is none yet'
    with pytest.raises(SavingError, match=f'epoch_{fails_at}.pth cannot be .*No space.*{kept}'):
        train(tmp_path, NEW, default_hooks=saving(max_keep_ckpts=1))
    assert whole(tmp_path) == ({f'epoch_{fails_at - 1}.pth'} if fails_at > 1 else set())
    assert not list(tmp_path.glob('.*'))
    # Room again: the run goes on as if nothing had been.
    disk.fails_at = None
    _, weight = train(tmp_path, NEW, resume=fails_at > 1, default_hooks=saving())
    assert torch.equal(weight, train(tmp_path / 'whole', NEW, default_hooks=saving())[1])


@pytest.mark.parametrize('fails_at', [5, 6])
def test_so_does_one_that_is_full_within_validation(tmp_path, disk, fails_at):
    disk.fails_at = fails_at
    with pytest.raises(SavingError, match='epoch_2.pth is whole and is kept'):
        train(tmp_path, NEW, **validation(max_keep_ckpts=1))
    best = {'best_score_epoch_1.pth'} | ({'best_score_epoch_2.pth'} if fails_at == 6 else set())
    assert whole(tmp_path) == {'epoch_2.pth'} | best


def test_or_it_goes_on_without_saving(tmp_path, disk, capfd):
    disk.fails_at = 2
    batches, _ = train(tmp_path, NEW, default_hooks=saving(max_keep_ckpts=1, on_error='continue'))
    assert len(batches) == 12
    assert disk.seen == [set(), {'epoch_1.pth'}, {'epoch_1.pth'}]
    assert whole(tmp_path) == {'epoch_3.pth'}
    assert 'epoch_2.pth cannot be written' in ''.join(capfd.readouterr())


def test_another_answer_to_errors_is_refused():
    with pytest.raises(ConfigError, match="on_error: 'ignore'; valid: stop, continue"):
        AtomicCheckpointHook(on_error='ignore')


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / 'notes.txt'
    write_text(path, 'first')
    with contextlib.suppress(KeyboardInterrupt), atomic_path(path) as part:
        part.write_text('sec')
        assert path.read_text() == 'first'
        raise KeyboardInterrupt
    assert path.read_text() == 'first'
    write_text(path, 'second')
    assert path.read_text() == 'second'
    assert [p.name for p in tmp_path.iterdir()] == ['notes.txt']


def test_so_is_a_folder(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    for content in ('first', 'second'):
        with atomic_path(path) as part:
            part.mkdir()
            (part / 'rank0').write_text(content)
        assert (path / 'rank0').read_text() == content
    with contextlib.suppress(KeyboardInterrupt), atomic_path(path) as part:
        part.mkdir()
        raise KeyboardInterrupt
    assert (path / 'rank0').read_text() == 'second'
    assert [p.name for p in tmp_path.iterdir()] == ['epoch_1.pth']


class Killed(BaseException):
    pass


def killed_at(monkeypatch, number):
    """A kill after so many files are moved into their places; before any is removed."""
    moves = []

    def move(source, target, replace=os.replace):
        replace(source, target)
        moves.append(target)
        if len(moves) == number:
            raise Killed

    monkeypatch.setattr(os, 'replace', move)


@pytest.mark.parametrize('number', range(1, 14))
def test_killed_at_any_move_the_resumed_run_leaves_what_a_whole_run_leaves(
    tmp_path, monkeypatch, number
):
    keys = validation(max_keep_ckpts=1)
    hooks = [dict(type='btkd_det.MissedValidationHook')]
    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        killed_at(patched, number)
        train(tmp_path, NEW, more_hooks=hooks, **keys)
        pytest.fail('it was not killed')
    (tmp_path / '.best_score_epoch_1.pth.part').write_text('half')
    BestOfAll.calls = (
        json.loads(Path(tmp_path, 'last_validation').read_text())['iteration'] // 4
        if (tmp_path / 'last_validation').is_file()
        else 0
    )
    resume = any(tmp_path.glob('epoch_*.pth'))
    train(tmp_path, NEW, more_hooks=hooks, resume=resume, **keys)
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {name for name in names if 'pth' in name} == {'epoch_3.pth', 'best_score_epoch_3.pth'}
    info = torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['message_hub']['runtime_info']
    assert (info['best_score'], Path(info['best_ckpt']).name) == (3, 'best_score_epoch_3.pth')


def test_a_copy_keeps_its_own_best_checkpoint_and_leaves_the_originals(tmp_path):
    epochs = lambda number: dict(train_cfg=dict(by_epoch=True, max_epochs=number, val_interval=1))
    train(tmp_path / 'first', NEW, **validation(), **epochs(2))
    shutil.copytree(tmp_path / 'first', tmp_path / 'copy')
    before = {path.name: path.read_bytes() for path in (tmp_path / 'first').glob('*.pth')}
    keys = validation()
    # The score goes on to grow.
    BestOfAll.calls = 2
    train(tmp_path / 'copy', NEW, resume=True, **keys, **epochs(3))
    after = {path.name: path.read_bytes() for path in (tmp_path / 'first').glob('*.pth')}
    assert after == before
    assert 'best_score_epoch_2.pth' in after
    names = [path.name for path in (tmp_path / 'copy').glob('best*')]
    assert names == ['best_score_epoch_3.pth']
    state = torch.load(tmp_path / 'copy/epoch_3.pth', weights_only=False)
    best = state['message_hub']['runtime_info']['best_ckpt']
    assert Path(best) == tmp_path / 'copy/best_score_epoch_3.pth'


class Scores(BestOfAll):
    """1, 5, 3, 4."""

    def compute_metrics(self, results):
        BestOfAll.calls += 1
        return dict(score=(1, 5, 3, 4)[BestOfAll.calls - 1])


def test_a_best_one_that_could_not_be_written_is_not_the_best(tmp_path, monkeypatch):
    def fails(path, part=None):
        if Path(path).name == 'best_score_epoch_2.pth':
            raise OSError(errno.ENOSPC, 'No space left on device')
        return atomic_path(path, part)

    monkeypatch.setattr('btkd_det.hooks.atomic_checkpoint.atomic_path', fails)
    keys = validation(on_error='continue', max_keep_ckpts=1)
    keys['val_evaluator'] = Evaluator(Scores())
    four = dict(by_epoch=True, max_epochs=4, val_interval=1)
    train(tmp_path, NEW, train_cfg=four, **keys)
    assert [path.name for path in tmp_path.glob('best*')] == ['best_score_epoch_4.pth']
    state = torch.load(tmp_path / 'epoch_4.pth', weights_only=False)
    info = state['message_hub']['runtime_info']
    assert info['best_score'] == 4
    assert Path(info['best_ckpt']).name == 'best_score_epoch_4.pth'


@pytest.mark.parametrize('best', [None, 'score', ['score', 'other']])
def test_a_resumed_run_may_save_other_best_ones(tmp_path, best):
    epochs = lambda number: dict(train_cfg=dict(by_epoch=True, max_epochs=number, val_interval=1))
    keys = validation()
    keys['val_evaluator'] = Evaluator(Two())
    keys['default_hooks'] = saving(save_best=['score', 'other'], rule='greater')
    train(tmp_path, NEW, **keys, **epochs(1))
    keys['val_evaluator'] = Evaluator(Two())
    keys['default_hooks'] = saving() if best is None else saving(save_best=best, rule='greater')
    train(tmp_path, NEW, resume=True, **keys, **epochs(2))
    assert (tmp_path / 'epoch_2.pth').is_file()
    names = {path.name for path in tmp_path.glob('best*')}
    if best is None:
        assert names == {'best_score_epoch_1.pth', 'best_other_epoch_1.pth'}
    else:
        assert 'best_score_epoch_2.pth' in names


class Two(BestOfAll):
    """Two scores that grow."""

    def compute_metrics(self, results):
        found = super().compute_metrics(results)
        return dict(found, other=found['score'])
