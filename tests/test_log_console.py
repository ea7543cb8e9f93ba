"""What a command shows while MMEngine logs, prints and warns, and what its log file has."""

import contextlib
import io
import logging
import sys
import warnings

import pytest
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.file_proxy import FileProxy

from btkd_det.hooks.evaluation_bar import EvaluationBarHook
from btkd_det.log_console import TEST_LINE, LogConsole, LoggedLines, dumps_hidden, log_file
from btkd_det.report import batch_bar
from btkd_det.report.batch_bar import BatchBar, on_terminal, screen_of

from .hooks.toy import PLAIN, Drawing, Model
from .terminal import Terminal


class Loud(BaseMetric):
    """Says what host packages say: by print, by a warning, by their logger, in many lines."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        print('a print')
        self.results.append(0)

    def compute_metrics(self, results):
        warnings.warn('a warning', UserWarning, stacklevel=1)
        print('drawn over\rlast frame', file=sys.stderr)
        MMLogger.get_current_instance().error('an error')
        return dict(score=0.75)


class Broken(Loud):
    """Fails."""

    def compute_metrics(self, results):
        raise ZeroDivisionError


def build(work_dir, metric=Loud):
    """What makes eight steps of a test."""
    return Runner(
        model=Model(),
        work_dir=str(work_dir),
        test_dataloader=dict(batch_size=2, dataset=Drawing(), sampler=PLAIN, num_workers=0),
        test_cfg=dict(),
        cfg=Config(dict(answer=42)),
        test_evaluator=dict(type=metric),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=2)),
        experiment_name=f'console-{work_dir.parent.name}-{work_dir.name}',
    )


def run(work_dir, bar=None, metric=Loud, kept=True):
    """Test; the metrics, the log's text and the console."""
    stream = sys.stdout if bar is None else FileProxy(bar, sys.stdout)
    with LogConsole(stream, None if bar else TEST_LINE) as console:
        warnings.warn('an early warning', UserWarning, stacklevel=1)
        runner = build(work_dir, metric)
        console.started(runner.logger, kept)
        print('head', file=stream)
        if bar is not None:
            runner.register_hook(EvaluationBarHook(bar))
        metrics = runner.test()
    with open(log_file(runner.logger)) as log:
        return metrics, log.read(), console


def test_what_is_shown_and_what_is_logged(tmp_path, capsys):
    before = sys.stdout, sys.stderr, warnings.showwarning

    metrics, log, console = run(tmp_path)

    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == 'head'
    assert [line.split()[7:9] for line in lines[1:5]] == [
        ['Epoch(test)', f'[{i}/8]'] for i in (2, 4, 6, 8)
    ]
    assert 'ERROR - ' in lines[5]
    assert lines[5].endswith('an error')
    assert len(lines) == 6
    assert captured.err == ''
    assert metrics == {'toy/score': 0.75}
    for text in ('System environment', 'Config:', 'INFO - a print', 'INFO - last frame'):
        assert text in log, text
    assert log.count('INFO - a print') == 8
    assert 'drawn over' not in log
    assert log.count('WARNING - UserWarning: a warning (') == 1
    assert log.count('WARNING - UserWarning: an early warning (') == 1
    assert console.warnings == 2
    assert before == (sys.stdout, sys.stderr, warnings.showwarning)


def test_on_a_terminal_there_is_one_bar_and_errors_stand_above_it(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '60')
    monkeypatch.setattr(batch_bar, 'PAUSE', 0)
    with contextlib.redirect_stdout(terminal):
        run(tmp_path, bar=screen_of(sys.stdout))

    lines = [line for line in terminal.screen() if line]
    assert lines[0] == 'head'
    assert 'ERROR - ' in (above := ' '.join(lines[1:-1]))
    assert above.endswith('an error')
    assert lines[-1].startswith('batches ━━━')
    assert lines[-1].endswith('8/8 left 0:00:00')
    assert '━' not in ''.join(lines[:-1])
    # While the results are counted, which may take a minute, the bar says so.
    assert 'counting the results' in terminal.getvalue()
    # The cursor is there again.
    assert terminal.getvalue().rindex('\x1b[?25h') > terminal.getvalue().rindex('\x1b[?25l')


@pytest.mark.parametrize('kept', [True, False])
def test_a_failed_run_without_a_log_file_shows_the_end_of_its_log(kept, tmp_path, capsys):
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, metric=Broken, kept=kept)

    shown = capsys.readouterr().err.splitlines()
    assert (len(shown) == 40) is not kept
    assert ('a print' in ''.join(shown)) is not kept


def test_what_is_said_before_there_is_a_log_is_shown_where_no_runner_comes(capsys):
    def build():
        with LogConsole():
            print('building')
            raise KeyError

    with pytest.raises(KeyError):
        build()
    assert capsys.readouterr().err == 'building\n'


def test_loggers_write_where_they_did(tmp_path):
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        logger = MMLogger(f'there-{tmp_path.name}', 'there')
        MMLogger._instance_dict[logger.instance_name] = logger
        with LogConsole():
            logger.info('within')
        logger.info('after')
    assert [line.split(' - ')[-1] for line in stream.getvalue().splitlines()] == ['after']


def test_a_logger_that_fails_does_not_ask_itself():
    lines = LoggedLines(lambda text: lines.write(f'{text}, again\n') and kept.append(text))
    kept = []
    with contextlib.redirect_stderr(lines):
        print('one\ntwo', file=sys.stderr)
        logging.lastResort.handle(logging.makeLogRecord(dict(msg='three', levelno=40)))
    assert kept[:2] == ['one', 'two']


@pytest.mark.parametrize(('total', 'last'), [(4, 'walk: 3 of 4 batches, left 0:00:10'),
                                             (0, 'walk: 3 batches')])  # fmt: skip
def test_without_a_terminal_a_line_now_and_then(total, last, capsys, monkeypatch):
    now = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    monkeypatch.setattr(batch_bar.time, 'monotonic', lambda: next(now))
    with BatchBar('walk', total) as bar:
        for _ in range(4):
            bar.update()
    assert capsys.readouterr().out == f'{last}\n'


def test_a_dumb_terminal_is_none(monkeypatch):
    monkeypatch.setenv('TERM', 'dumb')
    assert not on_terminal(Terminal())
    monkeypatch.setenv('TERM', 'xterm')
    assert on_terminal(Terminal())
    assert not on_terminal(io.StringIO())


def test_a_runner_on_a_terminal_begins_without_its_dumps(tmp_path, capsys):
    with dumps_hidden():
        print('before')
        runner = build(tmp_path)
        runner.logger.warning('of use')
    runner.logger.info('later')

    lines = [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()]
    kept = [line for line in lines if line in ('before', 'of use', 'later')]
    assert kept == ['before', 'of use', 'later']
    assert len(lines) < 10
    with open(log_file(runner.logger)) as log:
        text = log.read()
    for title in ('System environment:', 'Config:', 'Hooks will be executed'):
        assert title in text
