import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from btkd_det.losses import BTKDLoss
from btkd_det.progress import iterations_per_epoch, training_progress

from .every import batch


def test_without_a_runner_the_error_says_what_is_missing():
    with pytest.raises(
        RuntimeError, match=r'progress: not given.*set_progress.*call the loss with progress='
    ):
        BTKDLoss()(*batch(4, 3))
    MessageHub.get_instance('built, not training').update_info('max_iters', 10)
    with pytest.raises(RuntimeError, match='progress: not given'):
        training_progress()


def test_the_share_of_iterations_done(hub):
    for iteration, expected in ((0, 0.0), (10, 0.25), (39, 0.975)):
        hub.update_info('iter', iteration)
        assert training_progress() == expected
    assert iterations_per_epoch() == 8


def test_an_argument_overrides_the_runner(hub):
    arguments = batch(8, 4)
    hub.update_info('iter', 30)
    loss = BTKDLoss(schedule='linear')
    loss(*arguments)
    assert loss.log_vars['gamma'] == 0.75
    loss(*arguments, progress=0.1)
    assert loss.log_vars['gamma'].item() == pytest.approx(0.1)


def test_the_hub_of_the_latest_runner_is_read(hub):
    hub.update_info('iter', 39)
    later = MessageHub.get_instance('later')
    later.update_info_dict(dict(iter=1, max_iters=10))
    assert training_progress() == 0.1


class Toy(BaseModel):
    """Distills random logits and notes gamma; one parameter."""

    def __init__(self, seen):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.distill = BTKDLoss(schedule='linear')
        self.seen = seen

    def forward(self, inputs, mode):
        student, teacher, labels = batch(8, 4)
        loss = self.distill(student.detach().float() * self.scale, teacher.float(), labels)
        self.seen.append(self.distill.log_vars['gamma'].item())
        return dict(loss=loss)


@pytest.mark.parametrize('accumulative_counts', [1, 3])
@pytest.mark.parametrize('by_epoch', [True, False])
def test_in_a_runner(tmp_path, accumulative_counts, by_epoch):
    seen = []
    model = Toy(seen)
    images = torch.utils.data.TensorDataset(torch.zeros(4, 1))
    length = dict(max_epochs=2) if by_epoch else dict(max_iters=8)
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=torch.utils.data.DataLoader(images),
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=accumulative_counts
        ),
        experiment_name=f'toy_{accumulative_counts}_{by_epoch}_{tmp_path.name}',
        default_scope='btkd_det',
        log_level='ERROR',
    )
    runner.train()
    assert seen == pytest.approx([i / 8 for i in range(8)])
