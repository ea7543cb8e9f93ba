"""Two runs in one work dir, and a run that goes on with something else."""

import json
import os
import signal
import time

import pytest
import torch

from .night import prepare_night, write_teacher
from .trial import STEP, prepare, start_training


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    prepare()
    folder = tmp_path_factory.mktemp('other')
    return folder, [*prepare_night(folder), '--work-dir', folder / 'run']


def start(folder, args, name):
    log = folder / name
    return start_training(args, folder, log), log


def end(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def wait_for(log, words):
    deadline = time.monotonic() + 120
    while not log.is_file() or words not in log.read_text(errors='replace'):
        assert time.monotonic() < deadline, log.read_text(errors='replace')[-2000:]
        time.sleep(0.02)


def test_a_second_run_in_a_work_dir_is_refused_and_one_with_something_else_is_told(training):
    folder, args = training
    first, log = start(folder, args, 'first.txt')
    wait_for(log, STEP)
    # It would be done before the second one has begun.
    os.kill(first, signal.SIGSTOP)
    second, text = start(folder, args, 'second.txt')
    assert end(second) == 1
    last = text.read_text().strip().splitlines()[-1]
    assert last.startswith(f'error: --work-dir: {folder}/run is in use by another run (process ')
    assert f'process {first} on ' in last
    os.kill(first, signal.SIGCONT)
    wait_for(log, 'Saving checkpoint at 2 epochs')
    os.kill(first, signal.SIGKILL)
    end(first)
    # Nothing is left locked, and what is another training now is said in one line.
    (folder / 'teacher.pth').unlink()
    write_teacher(folder)
    state = torch.load(folder / 'teacher.pth', weights_only=True)
    state['state_dict']['roi_head.bbox_head.fc_cls.bias'] += 1
    torch.save(state, folder / 'teacher.pth')
    data = json.loads((folder / 'data' / 'train.json').read_text())
    data['annotations'][0]['bbox'][2] -= 1
    (folder / 'data' / 'train.json').write_text(json.dumps(data))
    options = ['--cfg-options', 'train_dataloader.batch_size=2', 'train_cfg.max_epochs=6']
    options += ['custom_hooks=[]']
    third, text = start(folder, [*args, '--resume', *options], 'third.txt')
    assert end(third) == 0, text.read_text()[-2000:]
    (line,) = [line for line in text.read_text().splitlines() if 'another training' in line]
    for words in (
        'the teacher was teacher.pth (',
        'the training data was CocoDataset of train.json (',
        'the batch size was 1 on 1 process and is 2 on 1 process',
        "the weights' average was EMAHook and is none",
    ):
        assert words in line
    assert not (folder / 'run' / '.lock').exists()
    fourth, text = start(folder, [*args, '--resume', *options], 'fourth.txt')
    assert end(fourth) == 0
    assert 'another training' not in text.read_text()
