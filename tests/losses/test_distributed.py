"""Two processes against one on the joined batch."""

import pytest
import torch
from torch import distributed, multiprocessing

from btkd_det.losses import BTKDLoss, FitNetLoss, IKDLoss
from btkd_det.sites.gate import Objects, map_gate

from .every import batch

CLASSES, ROWS, STEPS = 5, 8, 5


class Model(torch.nn.Module):
    """A linear student, a loss of each kind, maps with a gate; collects for two iterations."""

    def __init__(self):
        super().__init__()
        self.student = torch.nn.Linear(CLASSES, CLASSES).double()
        torch.nn.init.constant_(self.student.weight, 0.1)
        torch.nn.init.zeros_(self.student.bias)
        self.btkd = BTKDLoss(trust='measured')
        self.ikd = IKDLoss(CLASSES, collect_iters=2)
        self.factors = torch.nn.Parameter(torch.ones(CLASSES, 1, 1).double())
        self.gated = FitNetLoss(gate='foreground')

    def forward(self, images, teacher, labels):
        logits = self.student(images)
        gated = self.gated(self.factors * as_map(images), as_map(teacher), gates(labels))
        btkd = self.btkd(logits, teacher, labels, progress=0.5)
        return btkd + self.ikd(logits, teacher, labels) + gated


def as_map(rows):
    return rows[:, :, None, None].expand(-1, -1, 4, 4)


def gates(labels):
    """Of as many objects as an image's label says, none of some."""
    side = torch.arange(1, CLASSES + 1) * 3.0
    boxes = torch.stack([0 * side, 0 * side, side, side], dim=1)
    objects = [
        Objects(boxes[:label], torch.ones(label, dtype=torch.bool), (16, 16)) for label in labels
    ]
    return map_gate(objects, [(4, 4)], (16, 16), 'foreground', 0.5)


def train(rank, ranks):
    """A few steps on this rank's share of the rows; all that the model then holds."""
    model = Model()
    wrapped = torch.nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        images, teacher, labels = batch(ROWS, CLASSES, seed=step)
        # Blocks, not stripes: the ranks then see unequal numbers of wrong rows. In the last
        # step none is wrong on one of them.
        if step == STEPS - 1:
            labels[: ROWS // 2] = teacher[: ROWS // 2].argmax(dim=1)
        mine = slice(rank * ROWS // ranks, (rank + 1) * ROWS // ranks)
        wrapped(images.detach()[mine], teacher[mine], labels[mine]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def process(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    torch.save(train(rank, 2), f'{folder}/{rank}.pth')
    distributed.destroy_process_group()


@pytest.fixture(scope='module')
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    multiprocessing.spawn(process, (str(folder),), nprocs=2)
    return [torch.load(folder / f'{rank}.pth', weights_only=True) for rank in range(2)]


@pytest.mark.parametrize('part', ['ikd', 'btkd.trust', 'student', 'factors'])
def test_two_processes_are_one(states, part):
    expected = {key: value for key, value in train(0, 1).items() if key.startswith(part)}
    assert expected
    for state in states:
        found = {key: state[key] for key in expected}
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_all_ranks_hold_the_same(states):
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        if not key.startswith('student'):
            assert torch.equal(value, states[1][key])


def test_the_shares_were_unequal():
    for step in range(STEPS):
        _, teacher, labels = batch(ROWS, CLASSES, seed=step)
        wrong = teacher.argmax(dim=1) != labels
        if wrong[: ROWS // 2].sum() != wrong[ROWS // 2 :].sum():
            return
    pytest.fail('the ranks should differ in their numbers of wrong rows')
