"""Overlaps against one pair at a time."""

import pytest
import torch
from mmcv.ops import bbox_overlaps

FIRST = [[0, 0, 10, 10], [2, 3, 9, 5], [20, 20, 21, 21]]
SECOND = [[5, 5, 15, 10], [0, 0, 4, 4], [19, 19, 23, 22]]


def overlap(a, b, mode, offset):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    area = lambda box: (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    base = area(a) if mode == 'iof' else area(a) + area(b) - width * height
    return width * height / base


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_overlaps(device, mode, offset, dtype):
    first, second = (torch.tensor(b, dtype=dtype, device=device) for b in (FIRST, SECOND))
    table = [[overlap(a, b, mode, offset) for b in SECOND] for a in FIRST]
    expected = torch.tensor(table, dtype=torch.float64).to(dtype)
    assert expected.count_nonzero() >= 4
    assert torch.equal(bbox_overlaps(first, second, mode, offset=offset).cpu(), expected)
    by_row = bbox_overlaps(first, second, mode, aligned=True, offset=offset)
    assert torch.equal(by_row.cpu(), expected.diag())


def test_no_boxes():
    assert bbox_overlaps(torch.zeros(0, 4), torch.zeros(3, 4)).shape == (0, 3)
