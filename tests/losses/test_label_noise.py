import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.losses import BTKDLoss
from btkd_det.losses.label_noise import LabelNoise

CLASSES = 10


def estimate(label_noise, memorized=0.0, teacher_right=0.8, steps=60, rows=128):
    """The estimate for labels of known noise.

    The teacher is sure, and right, on half of the rows; on the others it guesses. A share of its
    sure rows is ``memorized``: there it is sure of a wrong class, and the student, which learned
    what generalizes, is not with it.
    """
    generator = torch.Generator().manual_seed(0)
    draw = lambda: torch.rand(rows, generator=generator)
    other = lambda classes: (
        (classes + torch.randint(1, CLASSES, (rows,), generator=generator)) % CLASSES
    )
    noise = LabelNoise()
    for _ in range(steps):
        truth = torch.randint(0, CLASSES, (rows,), generator=generator)
        labels = torch.where(draw() < label_noise, other(truth), truth)
        sure = draw() < 0.5
        wrong = torch.where(sure, draw() < memorized, draw() > teacher_right)
        predicted = torch.where(wrong, other(truth), truth)
        confidence = torch.where(sure, 0.95, 0.35)
        student = torch.where(draw() < 0.6, truth, other(truth))
        found = noise(confidence, predicted, student, labels)
    return found.item()


@pytest.mark.parametrize('label_noise', [0.0, 0.2, 0.4])
def test_known_noise_is_found(label_noise):
    assert estimate(label_noise) == pytest.approx(max(label_noise, 0.01), abs=0.05)


def test_what_a_teacher_memorized_is_not_taken_for_noise_of_the_labels():
    assert estimate(0.0, memorized=0.4) < 0.06


def test_the_estimate_is_the_formula_on_the_surest_rows():
    noise = LabelNoise(momentum=0.5)
    # 16 rows at 0.95 and 4 at 0.15: a tenth, 2 rows, are in the highest bin.
    confidence = torch.tensor([0.95] * 16 + [0.15] * 4)
    labels = torch.zeros(20, dtype=torch.long)
    predicted = torch.tensor([1] * 4 + [0] * 12 + [2] * 4)
    student = torch.tensor([1, 1, 1, 0] + [0] * 16)
    found = noise(confidence, predicted, student, labels).item()
    assert found == pytest.approx(4 / 16 * (3 * 2 / 16 + 1) / (4 * 2 / 16 + 2))
    counted = torch.tensor([True] * 2 + [False] * 18)
    found = noise(confidence, predicted, student, labels, counted).item()
    # Half of what was there, 8 of 10 rows in the highest bin, and 2 more: 1.2 of 10 are wanted.
    assert found == pytest.approx(4 / 10 * (3.5 * 0.12 + 1) / (4 * 0.12 + 2))


def test_before_any_row_and_in_evaluation():
    noise = LabelNoise().eval()
    rows = torch.zeros(4, dtype=torch.long)
    assert noise(torch.ones(4), rows, rows, rows + 1).item() == pytest.approx(0.01)
    assert not noise.sums.any()


def robust(**options):
    return BTKDLoss(rectify=dict(type='posterior', **options), schedule='none')


def test_the_rule_gets_the_estimates():
    loss = robust(label_noise='estimated', missed='estimated')
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, 40, 5, generator=generator)
    labels = torch.randint(0, 5, (40,), generator=generator)
    loss(student, teacher, labels)
    rates = {name: loss.log_vars[name].item() for name in ('label_noise', 'missed')}
    # Every object counts for the one, every background row that the teacher fills for the other.
    objects = labels != 4
    assert loss.noise['label_noise'].sums[0].sum() == objects.sum()
    choice = teacher.argmax(dim=1)
    found = (choice != 4) & ((labels == 4) | (labels == choice))
    assert loss.noise['missed'].sums[0].sum() == found.sum()
    expected = robust(**rates)(student, teacher, labels)
    torch.testing.assert_close(loss.eval()(student, teacher, labels), expected)


def test_between_objects_alone_where_objects_alone_are_judged():
    loss = robust(label_noise='estimated')
    judging = BTKDLoss(
        rectify=dict(type='posterior', label_noise='estimated'), schedule='none', judge='object'
    )
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, 40, 5, generator=generator)
    labels = torch.randint(0, 5, (40,), generator=generator)
    choice = teacher.argmax(dim=1)
    for counting, rows in ((loss, labels >= 0), (judging, (labels != 4) & (choice != 4))):
        counting(student, teacher, labels)
        assert counting.noise['label_noise'].sums[0].sum() == rows.sum() > 0
    # A row that either calls background is the teacher's as it is.
    confused = (labels != 4) & (choice != 4) & (labels != choice)
    per_row = [part.eval().per_row(student, teacher, labels) for part in (judging, judging.host)]
    assert torch.equal(per_row[0] != per_row[1], confused)
    assert judging.log_vars['right'] == 1 - confused.float().mean()


def test_the_estimates_are_in_the_checkpoint():
    names = robust(label_noise='estimated').state_dict()
    assert list(names) == ['noise.label_noise.sums']
    assert not robust(label_noise=0.2).state_dict()


@pytest.mark.parametrize('value', [0, 1, -0.1, 'measured', True, None, [0.1]])
def test_a_rate_that_is_none_is_refused(value):
    if value is None:
        robust(missed=None)
        return
    with pytest.raises(ConfigError, match='rectify.missed: .*; valid: .*above 0 and below 1'):
        robust(missed=value)


@pytest.mark.parametrize('bad', [float('inf'), float('nan')])
def test_a_row_that_is_not_finite_is_not_counted(bad):
    loss = BTKDLoss(rectify=dict(type='posterior', label_noise='estimated'), schedule='none')
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 12, 4, generator=generator)
    teacher[0, 1] = bad
    loss(student, teacher, torch.arange(12) % 4)
    sums = loss.noise['label_noise'].sums
    assert sums[0].sum() == 11
    assert sums.isfinite().all()
