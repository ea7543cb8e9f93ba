"""The bar of a terminal: what it shows, that nothing tears it, and that it gives all back."""

import contextlib
import re
import sys

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from btkd_det.hooks import ProgressBarHook, progress_bar
from tests.terminal import Terminal

from .toy import OPTIMIZER, PLAIN, Drawing, Model, Recorder, Stop

DISTILLED = {
    'distill.roi_logits.loss_btkd': 0.25,
    'distill.roi_logits.right': 0.5,
    'distill.roi_logits.trust': 0.125,
    'distill.fpn.loss_pkd': 2.0,
}


class Distilled(Model):
    """Logs what a distilled model does, and prints in between."""

    def forward(self, inputs, mode='loss'):
        losses = super().forward(inputs, mode)
        if mode == 'loss':
            print(f'[step] of {len(inputs)} [/step]')
            losses.update({key: torch.tensor(value) for key, value in DISTILLED.items()})
        return losses


class Score(BaseMetric):
    """Always the same."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=0.75)


@pytest.fixture
def terminal(monkeypatch):
    found = Terminal()
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '150')
    # Every frame, whatever the time.
    monkeypatch.setattr(progress_bar, 'PAUSE', 0)
    return found


def train(work_dir, terminal=None, stop=None, hooks=None, **keys):
    """Eight steps, on a terminal or not."""
    with contextlib.redirect_stdout(terminal) if terminal else contextlib.nullcontext():
        return run(work_dir, stop, [ProgressBarHook()] if hooks is None else hooks, **keys)


def run(work_dir, stop, hooks, **keys):
    loader = dict(batch_size=4, num_workers=0, dataset=Drawing(), sampler=PLAIN)
    runner = Runner(
        model=Distilled(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        optim_wrapper=OPTIMIZER,
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        experiment_name=f'{work_dir.parent.name}-{work_dir.name}',
        custom_hooks=[Recorder([], stop)],
        **{'train_cfg': dict(by_epoch=True, max_epochs=2), **keys},
    )
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def validated():
    loader = dict(batch_size=8, num_workers=0, dataset=Drawing(), sampler=PLAIN)
    evaluator = dict(type=Score)
    return dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=evaluator)


def test_what_stands_on_the_terminal_at_the_end(terminal, tmp_path):
    train(tmp_path, terminal, **validated())

    lines = [line for line in terminal.screen() if line]
    bars = [i for i, line in enumerate(lines) if '━' in line]
    assert bars == [len(lines) - 1]
    assert re.match(r'epoch 2/2 ━+ 8/8 +left 0:00:0\d  loss [\d.]+$', lines[-1])
    assert re.match('roi_logits +btkd 0.25 · right 50 % · trust 0.12$', lines[-4])
    assert lines[-3].split() == ['fpn', 'pkd', '2']
    assert re.match(r'toy/score +0\.75 \(epoch 2\)$', lines[-2])
    # What is printed comes through whole and as it is, above the bar.
    assert lines.count('[step] of 4 [/step]') == 8


def test_lines_that_the_bar_has_are_in_the_files_alone(terminal, tmp_path):
    runner = train(tmp_path, terminal, **validated())

    shown = '\n'.join(terminal.screen())
    kept = (next(tmp_path.glob('*/*.log'))).read_text()
    assert len(re.findall(r'Epoch\(train\)', kept)) == 8
    assert 'Epoch(train)' not in shown
    for epoch in (1, 2):
        assert f'Epoch(val) [{epoch}][2/2]' in kept
        assert f'Epoch(val) [{epoch}][2/2]' in shown
    assert runner.iter == 8


def test_without_a_terminal_nothing_changes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress_bar, 'Live', None)
    train(tmp_path / 'bar')
    with_hook = capsys.readouterr().out
    train(tmp_path / 'none', hooks=[])
    without = capsys.readouterr().out

    plain = lambda text: [re.sub(r'\d[\d.:/e+-]*', '#', line) for line in text.splitlines()]
    own = lambda lines: [line for line in lines if 'Epoch(train)' in line or '[step]' in line]
    assert own(plain(with_hook)) == own(plain(without))
    assert len(own(plain(with_hook))) == 16


@pytest.mark.parametrize('term', ['dumb', 'unknown'])
def test_a_terminal_that_cannot_draw_gets_lines(terminal, tmp_path, monkeypatch, term):
    monkeypatch.setenv('TERM', term)
    train(tmp_path, terminal)
    assert '━' not in terminal.getvalue()
    assert 'Epoch(train)' in terminal.getvalue()


@pytest.mark.parametrize('stop', [None, 1], ids=['to its end', 'an error'])
def test_the_terminal_is_given_back(terminal, tmp_path, stop):
    before = sys.stderr
    with contextlib.redirect_stdout(terminal), progress_bar.bars_closed():
        with pytest.raises(Stop) if stop else contextlib.nullcontext():
            train(tmp_path, stop=stop)
        assert (sys.stdout is terminal) == (stop is None)
    handler = MMLogger.get_current_instance().handlers[0]
    assert sys.stderr is before
    assert handler.stream is terminal
    assert len(handler.filters) == 1
    assert not progress_bar._open
    # A cursor that is hidden is shown again.
    assert terminal.getvalue().rindex('\x1b[?25h') > terminal.getvalue().rindex('\x1b[?25l')


def test_a_kill_leaves_the_cursor(terminal, tmp_path, monkeypatch):
    at_first_step = []
    monkeypatch.setattr(
        Distilled, 'forward', lambda *a, **k: at_first_step.append(terminal.getvalue()) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError), progress_bar.bars_closed():
        train(tmp_path, terminal)
    assert at_first_step[0].rindex('\x1b[?25h') > at_first_step[0].rindex('\x1b[?25l')


def test_a_terminal_that_is_gone_ends_no_training(terminal, tmp_path, monkeypatch):
    write = terminal.write

    def gone(text):
        if 'left' in text:
            raise OSError(5, 'Input/output error')
        return write(text)

    monkeypatch.setattr(terminal, 'write', gone)
    with contextlib.redirect_stdout(terminal):
        runner = train(tmp_path)
        assert sys.stdout is terminal
    assert runner.iter == 8
    assert not progress_bar._open


def test_iterations_without_epochs(terminal, tmp_path):
    keys = dict(train_cfg=dict(by_epoch=False, max_iters=6, val_interval=3), **validated())
    train(tmp_path, terminal, **keys)
    lines = [line for line in terminal.screen() if line]
    assert re.match(r'iterations ━+ 6/6 ', lines[-1])
    assert re.match(r'toy/score +0\.75 \(iteration 6\)$', lines[-2])


def test_no_number_is_not_the_best():
    hook = ProgressBarHook()
    nan = float('nan')
    hook._validated = {
        'accuracy/top1': [(nan, 'epoch 1'), (60.0, 'epoch 2'), (50.0, 'epoch 3')],
        'coco/bbox_mAP': [(nan, 'epoch 1'), (nan, 'epoch 2')],
    }
    cells = [cell.plain for cell in hook._table({}).columns[1].cells]
    assert cells == ['50 (epoch 3) · best 60 (epoch 2)', 'nan (epoch 2)']
