"""Through how many files a reader has to follow one distilled step."""

import sys
from pathlib import Path

import torch

import btkd_det
from tests.conftest import build_detector, detection_batch
from tests.models.test_two_stage import distilled

PACKAGE = Path(btkd_det.__file__).parent
SITES = dict(
    roi_logits=dict(type='btkd_det.BTKDLoss'),
    fpn=dict(type='btkd_det.PKDLoss', loss_weight=6.0),
)
MOST_FILES = 14
MOST_CHANGES = 30


def walk(function):
    """The files of the package that a call goes through, one entry for each call of ours."""
    files = []

    def note(frame, event, argument):
        file = Path(frame.f_code.co_filename)
        # What stands in for MMCV's operators is the plain detector's affair.
        if PACKAGE in file.parents and PACKAGE / 'compat' not in file.parents:
            files.append(file.relative_to(PACKAGE).as_posix())

    before = sys.gettrace()
    sys.settrace(note)
    try:
        function()
    finally:
        sys.settrace(before)
    return files


def test_a_step_goes_through_few_files(
    student_config, teacher_config, teacher_checkpoint, progress
):
    model = build_detector(distilled(student_config, teacher_config, teacher_checkpoint, SITES))
    model.train()
    data = model.data_preprocessor(detection_batch(), training=True)
    step = lambda: model(**data, mode='loss')
    # The first one also checks what no later one does.
    torch.manual_seed(0)
    step()

    files = walk(step)

    changes = sum(a != b for a, b in zip(files, files[1:], strict=False))
    print(f'{len(set(files))} files, {len(files)} calls, {changes} changes of file')
    assert 'losses/btkd.py' in files
    assert 'losses/pkd.py' in files
    assert len(set(files)) <= MOST_FILES, sorted(set(files))
    assert changes <= MOST_CHANGES, files
