"""The line that tells how far a run is."""

import io

import pytest

from experiments.demo.progress import Progress, duration


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def progress_of(clock, stream=None):
    return Progress({'first': 100, 'second': 300}, stream or io.StringIO(), clock)


@pytest.mark.parametrize(('seconds', 'text'), [(0, '0:00'), (59.6, '1:00'), (754, '12:34')])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_time_left_is_the_estimate_at_first(clock):
    progress = progress_of(clock)
    progress.start('first')
    assert progress.seconds_left() == 400


def test_time_left_follows_the_pace_of_this_machine(clock):
    progress = progress_of(clock)
    progress.start('first')
    clock.now = 200
    progress.finish()
    progress.start('second')
    # 100 estimated seconds took 200; with the prior minute the pace is 260 / 160.
    assert progress.seconds_left() == pytest.approx(300 * 260 / 160)
    clock.now = 500
    progress.update(0.5)
    assert progress.seconds_left() == pytest.approx(150 * 560 / 310)


def test_skipped_steps_count_as_no_work(clock):
    progress = progress_of(clock)
    progress.skip('first', 'kept')
    progress.start('second')
    clock.now = 300
    progress.update(0.5)
    assert ' 50%' in progress.line()
    assert progress.seconds_left() == pytest.approx(150 * 360 / 210)


def test_line_says_step_share_and_note(clock):
    progress = progress_of(clock)
    progress.start('first')
    clock.now = 50
    progress.update(0.5)
    assert progress.line('epoch 1/2') == (
        '[' + '#' * 3 + '.' * 21 + ']  12%  5:50 left  1/2 first, epoch 1/2'
    )


def test_in_a_log_a_plain_line_every_half_minute(clock):
    stream = io.StringIO()
    progress = progress_of(clock, stream)
    progress.start('first')
    for second in range(1, 95):
        clock.now = second
        progress.update(second / 100)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert '\r' not in stream.getvalue()
    progress.finish('AP 12.0')
    assert stream.getvalue().splitlines()[-1] == '1/2 first: 1:34, AP 12.0'


def test_on_a_terminal_one_line_rewritten_in_place(clock, monkeypatch):
    monkeypatch.setenv('COLUMNS', '60')
    stream = Terminal()
    progress = progress_of(clock, stream)
    progress.start('first')
    progress.update(0.2, 'a note that is longer than any terminal is wide ' * 3)
    assert '\n' not in stream.getvalue()
    assert {len(line) for line in stream.getvalue().split('\r')[1:]} == {59}
    progress.finish()
    assert stream.getvalue().count('\n') == 1
