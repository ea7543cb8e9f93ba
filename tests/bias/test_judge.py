import torch

from btkd_det.bias import is_right

LOGITS = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 5.0], [4.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 2, 2, 1])


def test_the_first_choice_has_to_be_the_label():
    assert is_right(LOGITS, LABELS).tolist() == [True, False, True, False]


def test_of_several_largest_logits_the_first_is_the_choice():
    logits = torch.tensor([[1.0, 1.0, 0.0]]).repeat(2, 1)
    assert is_right(logits, torch.tensor([0, 1])).tolist() == [True, False]


def test_a_box_that_overlaps_too_little_is_wrong():
    ious = torch.tensor([0.4, 0.9, 0.5, 0.9])
    assert is_right(LOGITS, LABELS, box_ious=ious).tolist() == [False, False, True, False]
    assert is_right(LOGITS, LABELS, box_ious=ious, iou_threshold=0.3)[0]


def test_boxes_are_read_on_foreground_rows_only():
    ious = torch.tensor([0.4, 0.4, float('nan'), 0.4])
    foreground = torch.tensor([True, True, False, False])
    right = is_right(LOGITS, LABELS, box_ious=ious, foreground=foreground)
    assert right.tolist() == [False, False, True, False]


def test_judging_the_foreground_leaves_the_rest_alone():
    foreground = torch.tensor([True, True, False, False])
    right = is_right(LOGITS, LABELS, foreground=foreground, foreground_only=True)
    assert right.tolist() == [True, False, True, True]


def test_where_either_says_background_no_class_is_wrong():
    # Confused, missed, found in the background, both background, right.
    logits = torch.eye(4)[[1, 3, 0, 3, 2]]
    labels = torch.tensor([0, 1, 3, 3, 2])
    assert is_right(logits, labels).tolist() == [False, False, False, True, True]
    judged = is_right(logits, labels, background=3)
    assert judged.tolist() == [False, True, True, True, True]
