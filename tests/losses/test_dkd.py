import pytest
import torch

from btkd_det.losses import DKDLoss

from .every import batch


def test_warmup_grows_linearly_to_the_full_weight():
    arguments = batch(6, 5)
    full = DKDLoss()(*arguments)
    loss = DKDLoss(warmup=0.2)
    for progress, factor in ((0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (0.9, 1.0)):
        torch.testing.assert_close(loss(*arguments, progress=progress), full * factor)
        as_tensor = loss(*arguments, progress=torch.tensor(progress))
        torch.testing.assert_close(as_tensor, full * factor)


def test_warmup_needs_to_know_the_progress():
    with pytest.raises(RuntimeError, match='progress: not given'):
        DKDLoss(warmup=0.2)(*batch(6, 5))
