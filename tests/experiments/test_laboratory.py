"""Runs that are missing are done, no matter how the last command ended; nothing is left behind."""

import json
import os
import signal
import time

import pytest

from btkd_det.errors import ConfigError
from experiments.lab import results as results_module
from experiments.lab.results import write_json
from experiments.lab.study import Run

from .studies import Player, laboratory, study


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_all_runs_are_done_seed_by_seed_with_the_teacher_first(tmp_path):
    lab = laboratory(tmp_path)
    assert lab.run()

    # Without a teacher the cells share a run: 'noisy/alone' is not trained.
    assert lab.trainer.asked() == [
        'good/alone/seed0',
        'good/teacher',
        'good/kd/seed0',
        'noisy/teacher',
        'noisy/kd/seed0',
        'good/alone/seed1',
        'good/kd/seed1',
        'noisy/kd/seed1',
    ]
    found = json.loads((tmp_path / 'results/tiny/good/kd/seed1.json').read_text())
    assert found['test'] == dict(top1=51.0)
    assert (found['cell'], found['arm'], found['seed']) == ('good', 'kd', 1)
    assert found['config_hash'] == lab.study.run_hash(Run('good', 'kd', 1))
    assert found['log'] == 'tiny/good/kd/seed1/run.log'
    assert (tmp_path / 'work' / found['log']).is_file()
    for key in ('commit', 'dirty', 'machine', 'versions', 'seconds', 'teacher_sha256'):
        assert key in found
    copied = json.loads((tmp_path / 'results/tiny/noisy/alone/seed0.json').read_text())
    assert (copied['cell'], copied['same_as']) == ('noisy', 'good/alone/seed0')


def test_what_is_finished_is_not_done_again(tmp_path):
    laboratory(tmp_path, only=['good/*/seed0']).run()
    lab = laboratory(tmp_path)
    assert [run.key for run in lab.missing()] == [
        'noisy/alone/seed0',
        'noisy/teacher',
        'noisy/kd/seed0',
        'good/alone/seed1',
        'good/kd/seed1',
        'noisy/alone/seed1',
        'noisy/kd/seed1',
    ]
    lab.run()
    assert not lab.missing()
    assert len(lab.trainer.asked()) == len(set(lab.trainer.asked())) == 8


def test_tuning_comes_first_and_its_choice_is_used(tmp_path):
    lab = laboratory(tmp_path, study(tuned=True), workers=2)
    assert lab.run()

    asked = lab.trainer.asked()
    tuned = asked.index('good/kd/seed0')
    assert {'tuning/good/kd/trial0/seed100', 'tuning/good/kd/trial1/seed100'} < set(asked[:tuned])
    trial = json.loads((tmp_path / 'results/tiny/tuning/good/kd/trial1/seed100.json').read_text())
    assert 'test' not in trial
    found = json.loads((tmp_path / 'results/tiny/noisy/kd/seed0.json').read_text())
    # The second trial validates higher.
    assert found['trial']['number'] == 1
    assert found['trial']['changes']['host_weight'] == 0.3


def test_a_killed_command_leaves_no_process_and_no_half_result(tmp_path):
    player = Player(tmp_path / 'notes', seconds=60)
    parent = os.fork()
    if parent == 0:
        with open(os.devnull, 'w') as silent:
            laboratory(tmp_path, trainer=player, workers=2, stream=silent).run()
        os._exit(0)
    wait_until(lambda: len(player.pids()) == 2)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)

    wait_until(lambda: not any(map(is_running, player.pids())), seconds=5)
    assert not list(tmp_path.glob('results/**/*.json'))
    lab = laboratory(tmp_path)
    assert lab.run()
    assert len(list(tmp_path.glob('results/**/*.json'))) == 10


def test_an_interrupted_command_ends_its_processes(tmp_path):
    player = Player(tmp_path / 'notes', seconds=60)
    lab = laboratory(tmp_path, trainer=player)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with pytest.raises(KeyboardInterrupt):
            lab.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(player.pids()) == 1
    assert not any(map(is_running, player.pids()))


def test_the_time_is_kept(tmp_path):
    lab = laboratory(tmp_path, trainer=Player(tmp_path / 'notes', seconds=60))
    lab._seconds['student'] = [0.5]
    started = time.monotonic()
    assert not lab.run(minutes=2 / 60)

    assert 2 <= time.monotonic() - started < 20
    assert not any(map(is_running, lab.trainer.pids()))
    # Not begun at all where it would not end in time.
    lab._seconds['student'] = lab._seconds['teacher'] = [300]
    before = lab.trainer.asked()
    assert not lab.run(minutes=1)
    assert lab.trainer.asked() == before


def test_a_failed_run_does_not_stop_the_others(tmp_path, capsys):
    player = Player(tmp_path / 'notes', fails=['good/kd/seed0', 'noisy/teacher'])
    lab = laboratory(tmp_path, trainer=player)
    assert not lab.run()

    assert [run.key for run in lab.failed] == ['good/kd/seed0', 'noisy/teacher']
    assert 'good/kd/seed1' in player.asked()
    assert 'noisy/kd/seed0' not in player.asked()
    assert 'no memory' in (tmp_path / 'work/tiny/good/kd/seed0/run.log').read_text()
    assert 'FAILED good/kd/seed0' in capsys.readouterr().out


def test_results_of_another_config_are_not_mixed_in(tmp_path):
    laboratory(tmp_path, only=['good/alone/*']).run()
    other = study(student=dict(study().student, epochs=2))
    with pytest.raises(ConfigError, match='2 of 8 results are of another config'):
        laboratory(tmp_path, other).run()
    lab = laboratory(tmp_path, other, only=['good/alone/*'], replace=True)
    assert lab.run()
    assert lab.trainer.asked()[-2:] == ['good/alone/seed0', 'good/alone/seed1']


def test_two_commands_do_not_work_in_one_folder(tmp_path):
    lab = laboratory(tmp_path)
    with lab._locked(), pytest.raises(ConfigError, match='another process'):
        laboratory(tmp_path).run()


def test_a_result_is_complete_at_any_time(tmp_path, monkeypatch):
    path = tmp_path / 'deep' / 'r.json'
    write_json(path, dict(a=1))
    monkeypatch.setattr(results_module.json, 'dumps', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_json(path, dict(a=2))

    assert json.loads(path.read_text()) == dict(a=1)
    assert list(path.parent.iterdir()) == [path]


def test_progress_tells_what_is_done_and_left(tmp_path, capsys):
    laboratory(tmp_path, only=['*/alone/seed0', 'good/kd/seed0']).run()
    said = capsys.readouterr().out
    assert 'tiny: 4 runs to do, of them 1 teacher' in said
    assert '2/3 good/kd/seed0: top1 50.00' in said or '3/3 good/kd/seed0: top1 50.00' in said
    assert '0:00 h left' in said
