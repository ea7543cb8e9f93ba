"""Two processes of a real training: one that dies, signals, Slurm's environment."""

import os
import signal

import pytest
import torch

from .night import prepare_night
from .ranks import start, wait, wait_for_steps
from .trial import prepare


def steps(count):
    """So many that none of the processes is at its end when the signal comes."""
    # Without validations, after which early stopping could end it.
    options = [f'train_cfg.max_iters={count}', f'train_cfg.val_interval={count}']
    return ['--cfg-options', *options]


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    prepare()
    folder = tmp_path_factory.mktemp('ranks')
    return folder, prepare_night(folder, 'iterations')


def test_one_that_dies_ends_the_other_which_names_it(training):
    folder, args = training
    ranks = start(folder, [*args, *steps(2000), '--work-dir', folder / 'dies'], 'slurm')
    wait_for_steps(ranks, 2)
    os.kill(ranks[1].process, signal.SIGKILL)
    seconds = wait(ranks)
    assert ranks[1].code == -signal.SIGKILL
    assert (ranks[0].code, seconds < 60) == (1, True), ranks[0].text[-3000:]
    assert f'process {ranks[1].process}) of 2 has ended' in ranks[0].last
    assert ranks[0].last.startswith('error: rank 1 (')
    assert 'Traceback' not in ranks[0].text


def test_a_signal_to_one_ends_both_with_a_checkpoint(training):
    folder, args = training
    work_dir = folder / 'asked'
    args = [*args, *steps(60), '--work-dir', work_dir, '--save-on-interrupt']
    ranks = start(folder, args)
    wait_for_steps(ranks, 3)
    os.kill(ranks[1].process, signal.SIGTERM)
    wait(ranks)
    assert [rank.code for rank in ranks] == [143, 143], ranks[0].text[-3000:]
    for rank in ranks:
        assert rank.last.startswith('error: ended by SIGTERM: ')
    newest = (work_dir / 'last_checkpoint').read_text()
    saved = torch.load(newest, weights_only=False)
    assert f'iteration {saved["meta"]["iter"]}' in ranks[0].last
    assert len(saved['btkd_det_rng']) == 2
    ranks = start(folder, [*args, '--resume'])
    wait(ranks)
    assert [rank.code for rank in ranks] == [0, 0], ranks[0].text[-3000:]


def test_ctrl_c_ends_both_in_one_line(training):
    folder, args = training
    ranks = start(folder, [*args, *steps(2000), '--work-dir', folder / 'ctrl-c'])
    wait_for_steps(ranks, 1)
    for rank in ranks:
        os.kill(rank.process, signal.SIGINT)
    wait(ranks)
    for rank in ranks:
        assert rank.code == 130, rank.text[-3000:]
        assert rank.last == 'error: ended by SIGINT. Go on with --resume'
        assert 'Traceback' not in rank.text
