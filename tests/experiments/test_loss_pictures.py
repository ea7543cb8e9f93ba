"""The pictures of the losses: all are there, and show what the loss does."""

from pathlib import Path

import pytest
import torch

from btkd_det import losses
from btkd_det.losses import LogitLoss
from experiments import loss_pictures
from experiments.loss_pictures import LABEL, PICTURES, STUDENT, TEACHERS, build, draw, push

PAGE = Path(__file__).parents[2] / 'docs' / 'reference' / 'losses.md'
RIGHT, WRONG = (torch.tensor(values) for values in TEACHERS.values())
STRONGEST_OF_WRONG = int(WRONG.argmax())


def test_each_loss_between_logits_has_one_that_the_page_shows():
    names = {
        name
        for name in losses.__all__
        if name != 'LogitLoss' and issubclass(getattr(losses, name), LogitLoss)
    }
    assert set(PICTURES) == names
    text = PAGE.read_text()
    for name in names:
        link = f'pictures/losses/{name}.png'
        assert f'../{link}' in text
        assert (PAGE.parents[1] / link).is_file()


def test_kd_pushes_towards_the_teacher():
    student = torch.tensor(STUDENT)
    for teacher in (RIGHT, WRONG):
        found = push(build('KDLoss', dict(temperature=1.0)), teacher, 0)
        torch.testing.assert_close(found, teacher.softmax(0) - student.softmax(0))


@pytest.mark.parametrize('progress', [0.0, 1.0])
def test_btkd_looks_at_the_right_row_first_and_puts_the_other_right_last(progress):
    loss = build('BTKDLoss', {})
    right, wrong = push(loss, RIGHT, progress), push(loss, WRONG, progress)
    seen, silent = (right, wrong) if progress == 0 else (wrong, right)
    assert not silent.any()
    assert seen.argmax() == LABEL


def test_the_posterior_pushes_the_label_where_kd_pushes_the_mistake():
    options = dict(loss=dict(type='KDLoss', temperature=1.0), schedule='none')
    plain = push(build('KDLoss', dict(temperature=1.0)), WRONG, 0)
    ours = push(build('BTKDLoss', dict(options, rectify='posterior')), WRONG, 0)
    assert plain.argmax() == STRONGEST_OF_WRONG
    assert ours.argmax() == LABEL


def test_a_picture_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loss_pictures, 'PICTURES', {'KDLoss': PICTURES['KDLoss']})
    monkeypatch.setattr('sys.argv', ['loss_pictures', '--out', str(tmp_path)])
    loss_pictures.main()
    assert (tmp_path / 'KDLoss.png').read_bytes().startswith(b'\x89PNG')
    assert capsys.readouterr().out.strip() == str(tmp_path / 'KDLoss.png')
    draw('KDLoss', tmp_path / 'below' / 'same.png')
    assert (tmp_path / 'below' / 'same.png').is_file()
