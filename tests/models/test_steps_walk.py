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
#: What a reader opens, and what for.
FILES = {
    'models/distilled.py': 'the step: student, teacher, the loop over the sites',
    'sites/base.py': 'what every site does with its losses',
    'sites/rois.py': "the student's RoIs noted, the teacher's head on them",
    'sites/roi_logits.py': 'what of them the losses see',
    'sites/maps.py': 'the maps of both',
    'teacher/frozen.py': 'without gradients, in its precision, normalized its own way',
    'losses/logit_loss.py': 'labels checked, precision, the mean over the rows',
    'losses/btkd.py': 'judge, rectify, curriculum around a host',
    'losses/kd.py': 'the host',
    'losses/feature_loss.py': 'levels paired, maps adapted',
    'losses/pkd.py': 'what a level costs',
    'bias/rectify.py': "the teacher's choice, and the rows put right",
    'bias/curriculum.py': 'the weight of each row',
    'progress.py': 'how far training is',
}
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
    assert set(files) == set(FILES)
    assert changes <= MOST_CHANGES, files
