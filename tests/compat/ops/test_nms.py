"""Suppression against loops over pairs of boxes, written from the papers' definitions."""

import math

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def boxes_and_scores(count, seed=0, spread=24):
    """Whole coordinates below 64 and distinct scores that every floating type can hold."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, spread, (count, 2))
    size = rng.integers(1, 32, (count, 2))
    scores = rng.permutation(count) / 128 + 1 / 128
    return torch.tensor(np.concatenate([corner, corner + size], 1)), torch.tensor(scores)


def iou(a, b, offset):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    shared = max(width, 0) * max(height, 0)
    area = lambda box: (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    return shared / (area(a) + area(b) - shared)


def reference_nms(boxes, scores, threshold, offset):
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    keep = []
    for i in order:
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in keep):
            keep.append(i)
    return keep


def reference_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    left = dict(enumerate(scores))
    kept = []
    while left:
        best = max(left, key=left.get)
        kept.append((best, left.pop(best)))
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                left[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[i] *= 0 if method == 'naive' else 1 - overlap
            if left[i] < min_score:
                del left[i]
    return kept


@pytest.mark.parametrize('dtype', FLOATS)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.31, 0.69])
def test_keeps_what_the_loop_keeps(device, dtype, offset, threshold):
    boxes, scores = boxes_and_scores(60)
    expected = reference_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    dets, keep = nms(boxes.to(device, dtype), scores.to(device, dtype), threshold, offset)
    assert keep.tolist() == expected
    assert 3 < len(expected) < 60
    assert dets.dtype == dtype
    assert torch.equal(dets[:, :4].cpu().double(), boxes[expected].double())


def test_offset_counts_the_last_pixel(device):
    """Two boxes that share a column of pixels overlap only where x2 is inside."""
    boxes = torch.tensor([[0.0, 0.0, 1.0, 9.0], [1.0, 0.0, 2.0, 9.0]], device=device)
    scores = torch.tensor([0.5, 0.9], device=device)
    assert nms(boxes, scores, 0.2, offset=0)[1].tolist() == [1, 0]
    assert nms(boxes, scores, 0.2, offset=1)[1].tolist() == [1]


@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_an_overlap_equal_to_the_threshold_stays(device, threshold):
    """The threshold is a number of the boxes' type, for MMCV too: 0.3 in float32 is above 0.3."""
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 10 * threshold, 1]], device=device)
    scores = torch.tensor([0.9, 0.5], device=device)
    assert nms(boxes, scores, threshold)[1].tolist() == [0, 1]
    assert nms(boxes, scores, threshold - 1e-6)[1].tolist() == [0]


def test_first_of_equals_stays():
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8], [20, 20, 30, 30]])
    assert nms(boxes, torch.tensor([0.5, 0.5, 0.5]), 0.5)[1].tolist() == [0, 2]


def test_takes_boxes_and_scores_of_two_types():
    """Mixed precision hands over half scores beside float boxes."""
    boxes, scores = boxes_and_scores(40)
    expected = nms(boxes.float(), scores.float(), 0.5)[1]
    assert torch.equal(nms(boxes.float(), scores.half(), 0.5)[1], expected)
    assert torch.equal(nms(boxes.half(), scores.float(), 0.5)[1], expected)


def test_no_boxes(device):
    dets, keep = nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)
    assert dets.shape == (0, 5)
    assert keep.shape == (0,)
    assert keep.dtype == torch.int64


def test_batched_nms_keeps_classes_apart(device):
    boxes, scores = (t.float().to(device) for t in boxes_and_scores(60))
    labels = torch.arange(60, device=device) % 3
    expected = []
    for label in range(3):
        rows = (labels == label).nonzero()[:, 0]
        kept = reference_nms(boxes[rows].tolist(), scores[rows].tolist(), 0.4, 0)
        expected += rows[kept].tolist()
    expected.sort(key=lambda i: -scores[i].item())
    dets, keep = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.4))
    assert keep.tolist() == expected
    assert torch.equal(dets[:, 4], scores[keep])


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_lowers_scores_as_the_loop_does(method, offset):
    boxes, scores = boxes_and_scores(50, seed=1)
    expected = reference_soft_nms(boxes.tolist(), scores.tolist(), 0.3, 0.5, 0.05, method, offset)
    dets, keep = soft_nms(boxes.float(), scores.float(), 0.3, 0.5, 0.05, method, offset)
    assert keep.tolist() == [index for index, _ in expected]
    assert 3 < len(keep) < 50
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))
    assert torch.equal(dets[:, :4], boxes[keep].float())


def test_soft_nms_naive_is_nms():
    boxes, scores = boxes_and_scores(50)
    expected = reference_nms(boxes.tolist(), scores.tolist(), 0.3, 0)
    assert soft_nms(boxes.float(), scores.float(), 0.3, method='naive')[1].tolist() == expected


@pytest.mark.parametrize('dtype', FLOATS)
def test_soft_nms_leaves_its_input_alone(dtype):
    boxes, scores = (t.to(dtype) for t in boxes_and_scores(20))
    before = boxes.clone(), scores.clone()
    dets, _ = soft_nms(boxes, scores, 0.3, method='linear')
    assert dets.dtype == dtype
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


def test_soft_nms_keeps_a_single_box_whatever_its_score():
    dets, keep = soft_nms(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0.01]), min_score=0.5)
    assert keep.tolist() == [0]
    assert dets[0].tolist() == pytest.approx([0, 0, 4, 4, 0.01])


def test_soft_nms_of_boxes_without_area_is_finite():
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1]])
    dets, keep = soft_nms(boxes, torch.tensor([0.9, 0.8]), method='gaussian')
    assert keep.tolist() == [0, 1]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.8])


def test_soft_nms_of_nothing():
    dets, keep = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert keep.shape == (0,)


def test_nms_match_groups_every_box_once():
    boxes, scores = boxes_and_scores(40)
    left = sorted(range(40), key=lambda i: -scores[i].item())
    expected = []
    while left:
        best = left.pop(0)
        group = [i for i in left if iou(boxes[best].tolist(), boxes[i].tolist(), 0) >= 0.4]
        left = [i for i in left if i not in group]
        expected.append([best, *group])
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1).float(), 0.4)
    assert [group.tolist() for group in groups] == expected
    assert len(groups) < 40
