"""Annotation, teacher and student as one picture: what is counted, and what is marked where."""

import pytest
import torch
from PIL import Image

from btkd_det.report.pictures import GAP
from btkd_det.report.side_by_side import (
    BEYOND,
    CELL,
    LOST,
    PANEL,
    RIGHT,
    TRUE,
    WRONG,
    ClassifiedImage,
    DetectionRow,
    Found,
    classification_sheet,
    detection_sheet,
    surest_at_each_place,
)

# In an image of half the panel's size, so that a pixel is two of the picture.
SIZE = PANEL // 2
FIRST, SECOND, THIRD = [20.0, 20, 50, 50], [100.0, 20, 140, 60], [30.0, 100, 70, 150]
NAMES = ('cat', 'dog')


def found(*rows):
    boxes, labels, scores = zip(*rows, strict=True)
    return Found(torch.tensor(boxes), torch.tensor(labels), torch.tensor(scores))


def row(teacher, student):
    image = Image.new('RGB', (SIZE, SIZE), (10, 10, 10))
    boxes = torch.tensor([FIRST, SECOND, THIRD])
    return DetectionRow(image, boxes, torch.tensor([0, 1, 1]), teacher, student)


def pixel(sheet, column, x, y):
    """Of the picture, at a place of the image in one of the three columns."""
    return sheet.getpixel((GAP + column * (PANEL + GAP) + round(2 * x), 26 + round(2 * y)))


@pytest.fixture
def sheet():
    # The teacher takes the first for a dog, and finds the second; the student the reverse.
    teacher = found((FIRST, 1, 0.9), (SECOND, 1, 0.8))
    student = found((FIRST, 0, 0.9), (SECOND, 0, 0.8), (THIRD, 1, 0.7))
    return detection_sheet([row(teacher, student)], NAMES, 'epoch 3')


def test_who_gets_what_right_is_counted(sheet):
    assert sheet[1] == dict(objects=3, beyond=2, lost=1)


@pytest.mark.parametrize('column', [0, 1, 2])
@pytest.mark.parametrize(('box', 'color'), [(FIRST, BEYOND), (SECOND, LOST), (THIRD, BEYOND)])
def test_the_objects_have_their_frames_in_all_three(sheet, column, box, color):
    # Around the box, two pixels of the image away from it, halfway down.
    x, y = box[0] - 2, (box[1] + box[3]) / 2
    assert pixel(sheet[0], column, x, y) == color


@pytest.mark.parametrize(
    ('column', 'box', 'color'),
    [
        *((0, box, TRUE) for box in (FIRST, SECOND, THIRD)),
        *((1, FIRST, WRONG), (1, SECOND, RIGHT), (1, THIRD, (10, 10, 10))),
        *((2, FIRST, RIGHT), (2, SECOND, WRONG), (2, THIRD, RIGHT)),
    ],
)
def test_the_boxes_have_the_color_of_what_they_are(sheet, column, box, color):
    assert pixel(sheet[0], column, box[2], (box[1] + box[3]) / 2) == color


def test_both_right_or_both_wrong_has_no_frame():
    both = found((FIRST, 0, 0.9), (SECOND, 0, 0.8))
    sheet, counts = detection_sheet([row(both, both)], NAMES, 'epoch 1')
    assert counts == dict(objects=3, beyond=0, lost=0)
    assert pixel(sheet, 0, FIRST[0] - 2, 35) == (10, 10, 10)


def test_images_of_any_size_names_of_any_kind_and_boxes_upside_down():
    wide = row(found(([50.0, 50, 20, 20], 0, 0.5)), found((FIRST, 7, 0.5)))
    wide.image = Image.new('L', (4000, 30))
    empty = Found(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    none = DetectionRow(wide.image, torch.zeros(0, 4), torch.zeros(0), empty, empty)
    names = ('x' * 300, '<b>猫</b>')
    sheet, counts = detection_sheet([wide, row(empty, empty), none], names, 'epoch 1')
    assert counts == dict(objects=6, beyond=0, lost=0)
    assert sheet.width == 4 * GAP + 3 * PANEL


def test_of_detections_on_one_another_the_surest_is_the_answer():
    near = [21.0, 20, 51, 50]
    all_of_them = found((FIRST, 0, 0.4), (near, 1, 0.9), (SECOND, 1, 0.5), (SECOND, 1, 0.6))
    kept = surest_at_each_place(all_of_them)
    assert kept.boxes.tolist() == [near, SECOND]
    assert kept.labels.tolist() == [1, 1]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.6])


def test_a_classifiers_grid():
    image = Image.new('RGB', (8, 8), (10, 10, 10))
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0)]
    cells = [
        ClassifiedImage(image, 0, (teacher, 0.9), (student, 0.8)) for teacher, student in pairs
    ]
    sheet, counts = classification_sheet(cells, NAMES, 'epoch 2')
    assert counts == dict(objects=5, beyond=1, lost=1)
    # Three lines of text stand above each image.
    above = GAP + 4 + 3 * 15
    corners = [(GAP + i * (CELL + GAP) + 1, above + 1) for i in range(4)]
    assert [sheet.getpixel(corner) for corner in corners] == [RIGHT, LOST, BEYOND, WRONG]
    assert sheet.getpixel((GAP + 1, above + CELL + GAP + 4 + 3 * 15 + 1)) == RIGHT
