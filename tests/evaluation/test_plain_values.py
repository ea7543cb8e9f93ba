"""Numbers of metrics as valid JSON."""

import json

import numpy as np
import pytest
import torch

from btkd_det.evaluation.plain_values import plain_value


@pytest.mark.parametrize(
    ('value', 'plain'),
    [
        (torch.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.float32(0.25), 0.25),
        (np.bool_(True), True),
        (float('nan'), None),
        (-float('inf'), None),
        (dict(a=(1, [torch.tensor(2)]), b=None, c='text'), dict(a=[1, [2]], b=None, c='text')),
        ({1: np.int64(3)}, {'1': 3}),
        (slice(1, 2), 'slice(1, 2, None)'),
    ],
)
def test_values_are_those_that_json_has(value, plain):
    found = plain_value(value)
    assert found == plain
    assert json.loads(json.dumps(found, allow_nan=False)) == plain
