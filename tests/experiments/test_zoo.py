"""The table of the zoos counts what was tried, and a trial shrinks what it builds."""

import json
import os
import signal
import sys
import time

import pytest

from btkd_det.errors import ConfigError
from experiments.zoo import kinds, table, trials

RESULTS = {
    'mmdet::a/a.py': dict(host='works', off='works', feature='works', kd='works', btkd='works'),
    'mmdet::b/b.py': dict(
        host='works', off='works', feature='works', kd='refused: no | class', btkd='fault: nan'
    ),
    'mmdet::c/c.py': dict(host='fails: needs a GPU'),
}
WHOLE = RESULTS['mmdet::a/a.py']
SLOW = 'unfinished: took more than 2 s'
PART = dict(host='works', off='works', feature=SLOW, kd=SLOW, btkd=SLOW, limit=2, seconds=2)


def fake_trial(name):
    """Works, at the pace and with the end that its name says."""
    yield dict(host='works')
    yield dict(host='works', off='works')
    if 'slow' in name:
        time.sleep(60)
    if 'crash' in name:
        print('out of luck', file=sys.stderr)
        os._exit(3)
    if 'killed' in name:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    yield dict(WHOLE)


def without_seconds(found):
    return {key: value for key, value in found.items() if key != 'seconds'}


def test_the_page_counts_what_was_tried():
    text = table.page(RESULTS)
    assert 'So far 3 configs were tried; the plain model takes a step in 2 of them.' in text
    assert '| distilled, off | 2 | 0 | 0 | 0 |' in text
    assert '| `kd` | 1 | 1 | 0 | 0 |' in text
    assert '| `btkd` | 1 | 0 | 1 | 0 |' in text
    assert '| mmdet::b/b.py | works | works | works | refused [1](#reasons) | fault [2]' in text
    assert '1. no \\| class\n2. nan\n3. needs a GPU\n' in text
    assert table.counts(RESULTS, 'host') == dict(works=2, fails=1)


def test_a_trial_that_was_ended_is_counted_as_unfinished():
    text = table.page({'mmdet::a/a.py': PART})
    assert '| distilled, off | 1 | 0 | 0 | 0 |' in text
    assert '| `kd` | 0 | 0 | 0 | 1 |' in text
    assert '1. took more than 2 s\n' in text
    assert '## Reasons' not in table.page({'mmdet::a/a.py': WHOLE})


def test_trials_run_at_once_and_a_slow_one_stops_none():
    names = ['slow', *(f'mmdet::{i}/{i}.py' for i in range(4))]
    started = time.monotonic()
    found = dict(trials.run_trials(names, fake_trial, workers=3, limit=3))
    assert time.monotonic() - started < 15
    assert list(found)[-1] == 'slow'
    assert {name: without_seconds(found[name]) for name in names[1:]} == dict.fromkeys(
        names[1:], WHOLE
    )
    reason = 'unfinished: took more than 3 s'
    assert found['slow'].pop('seconds') >= 3
    assert found['slow'] == dict(
        host='works', off='works', feature=reason, kd=reason, btkd=reason, limit=3
    )


def test_no_more_run_at_once_than_there_are_workers(tmp_path):
    def counting(name):
        mine = tmp_path / name
        mine.touch()
        time.sleep(0.3)
        alone = len(list(tmp_path.iterdir())) == 1
        time.sleep(0.3)
        mine.unlink()
        yield dict(host='works' if alone else 'fails: two at once')

    one = dict(trials.run_trials('ab', counting, workers=1))
    assert [found['host'] for found in one.values()] == ['works', 'works']
    two = dict(trials.run_trials('ab', counting, workers=2))
    assert [found['host'] for found in two.values()] == ['fails: two at once'] * 2


def test_after_the_time_no_trial_is_begun_and_those_that_run_end():
    names = list(map(str, range(100)))
    found = dict(trials.run_trials(names, fake_trial, workers=2, minutes=1 / 60))
    assert 1 <= len(found) < len(names)
    assert all(without_seconds(of_one) == WHOLE for of_one in found.values())
    assert list(trials.run_trials('ab', fake_trial, minutes=0)) == []


def test_a_process_that_ends_itself_is_a_fault_and_one_that_is_killed_is_unfinished():
    found = dict(trials.run_trials(['crash', 'killed'], fake_trial, workers=2))
    assert without_seconds(found['crash']) == dict(
        host='works', off='works', feature='fault: ended with status 3: out of luck'
    )
    assert found['killed']['feature'] == 'unfinished: the system killed the process'
    assert found['killed']['off'] == 'works'


def test_what_is_given_up_leaves_no_process(tmp_path):
    def noting(name):
        (tmp_path / name).write_text(str(os.getpid()))
        yield dict(WHOLE)
        time.sleep(0 if name == 'a' else 60)

    running = trials.run_trials('ab', noting, workers=2)
    assert next(running)[0] == 'a'
    while not (tmp_path / 'b').is_file() or not (tmp_path / 'b').read_text():
        time.sleep(0.05)
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'b').read_text()), 0)


def test_what_was_tried_is_left_out_and_a_longer_limit_tries_again():
    results = {'whole': WHOLE, 'slow': PART, 'fails': dict(host='fails: no')}
    names = ['new', *results]
    assert table.left(names, results, 2) == ['new']
    assert table.left(names, results, 3) == ['new', 'slow']
    killed = dict(host='unfinished: the system killed the process')
    assert table.left(['killed'], dict(killed=killed), 2) == ['killed']


def test_results_of_another_machine_are_merged():
    results = {'a': dict(WHOLE), 'b': dict(PART), 'c': dict(host='fails: old')}
    others = {'a': dict(PART), 'b': dict(WHOLE), 'c': dict(host='works'), 'd': dict(PART)}
    assert table.merge(results, others) == 3
    assert results == {'a': WHOLE, 'b': WHOLE, 'c': dict(host='works'), 'd': PART}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the command on four configs whose trials are made up; gives its exit status."""
    # Which the import sets.
    for name, value in dict(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='').items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    from experiments.zoo import run, trial

    def main(*options):
        monkeypatch.setattr(sys, 'argv', ['run', '--out', str(tmp_path / 'out'), *options])
        with pytest.raises(SystemExit) as ended:
            run.main()
        return ended.value.code

    monkeypatch.setattr(run, 'kinds', lambda *args: [f'mmdet::{i}/{i}.py' for i in 'abcd'])
    monkeypatch.setattr(trial, 'trial', fake_trial)
    return main


def test_the_command_goes_on_where_it_stopped(command, tmp_path, capsys):
    assert command('--zoo', 'mmdet', '--shard', '2/2', '--workers', '2') == 0
    file = tmp_path / 'out' / 'results.json'
    assert list(json.loads(file.read_text())) == ['mmdet::b/b.py', 'mmdet::d/d.py']
    assert '| mmdet::d/d.py | works |' in (tmp_path / 'out' / 'zoo.md').read_text()
    assert command('--zoo', 'mmdet', '--limit', '1') == 0
    assert '1 to try, 2 tried before' in capsys.readouterr().out
    assert list(json.loads(file.read_text()))[0] == 'mmdet::a/a.py'


def test_the_command_merges_and_says_what_is_wrong_with_a_file(command, tmp_path):
    table.write_results(RESULTS, tmp_path / 'other.json')
    assert command('--merge', str(tmp_path / 'other.json')) == 1
    assert json.loads((tmp_path / 'out' / 'results.json').read_text()) == RESULTS
    assert '| `btkd` | 1 | 0 | 1 | 0 |' in (tmp_path / 'out' / 'zoo.md').read_text()
    assert command('--merge', 'none.json') == 'error: --merge: no file none.json'
    (tmp_path / 'other.json').write_text('{"a": 1}')
    with pytest.raises(ConfigError, match='does not hold results of the zoos'):
        table.read_results(tmp_path / 'other.json')
    (tmp_path / 'other.json').write_text('{')
    assert 'is no JSON' in command('--merge', str(tmp_path / 'other.json'))


@pytest.mark.parametrize('options', [['--shard', '3/2'], ['--shard', 'x'], ['--workers', '0']])
def test_the_command_refuses_what_makes_no_sense(command, options, capsys):
    assert command(*options) == 2
    assert 'valid: ' in capsys.readouterr().err


def test_what_is_built_downloads_nothing_and_is_no_larger_than_it_has_to_be():
    model = dict(
        type='RetinaNet',
        backbone=dict(type='ResNeXt', depth=101, init_cfg=dict(type='Pretrained')),
        heads=[dict(init_cfg=dict(type='Pretrained'), depth=18)],
    )
    kinds.shrunk(model)
    assert model['backbone'] == dict(type='ResNeXt', depth=50, init_cfg=None)
    assert model['heads'] == [dict(init_cfg=None, depth=18)]
    assert kinds.model_kind(model) == ('RetinaNet', 'ResNeXt')
    assert kinds.model_kind(dict(type='SoftTeacher', detector=model)) == ('SoftTeacher', 'ResNeXt')
    assert kinds.model_kind(None) == ('', '')


def test_one_config_of_each_kind_is_taken():
    assert kinds.kinds('mmdet', 'ssd', 2) == [
        'mmdet::ssd/ssd300_coco.py',
        'mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py',
    ]
    assert kinds.kind_of('mmdet::ssd/ssd512_coco.py') == (
        'mmdet::ssd',
        'SingleStageDetector',
        'SSDVGG',
    )
    assert kinds.kind_of('mmdet::_base_/default_runtime.py') is None


def test_large_backbones_come_last(monkeypatch, command, tmp_path, capsys):
    from experiments.zoo import run

    names = ['a/mask-rcnn_swin-l.py', 'a/b-l_1k.py', 'a/vit-huge.py', 'a/rtmdet_l_8xb32.py']
    monkeypatch.setattr(run, 'kinds', lambda *args: names)
    assert command('--zoo', 'mmdet', '--limit', '1') == 0
    assert '1/1 a/rtmdet_l_8xb32.py: host=works' in capsys.readouterr().out
