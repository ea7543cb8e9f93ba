"""Two processes with a share of the images each are one with all of them, in whole detectors."""

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import distributed, multiprocessing

from tests.conftest import build_detector, detection_batch, tiny_faster_rcnn
from tests.models.test_two_stage import distilled
from tests.single_stage import distilled as distilled_single
from tests.single_stage import save, tiny

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
IKD = dict(type='btkd_det.IKDLoss', num_classes=4, collect_iters=2, background=False)
LOSSES = [
    dict(type='btkd_det.BTKDLoss', loss=KD, trust='measured'),
    dict(type='btkd_det.BTKDLoss', loss=KD, normalize='all', rectify='blend'),
    dict(
        type='btkd_det.BTKDLoss',
        loss=KD,
        rectify=dict(type='posterior', label_noise='estimated'),
        schedule='none',
        trust='relative',
        give_back=True,
        calibrate=True,
    ),
    KD,
    IKD,
]
#: Images of a step; how many of them the first rank has; which of them show no object.
STEPS = ((4, 2, ()), (3, 2, ()), (4, 2, (2, 3)), (3, 2, (2,)), (3, 1, (0,)))


def faster_rcnn(folder):
    """Every proposal is a RoI, so that nothing is drawn, and ranks have unequally many."""
    student, teacher = tiny_faster_rcnn(), tiny_faster_rcnn(width=12, neck=24)
    save(teacher, folder / 'teacher.pth')
    student.backbone.norm_eval = True
    student.train_cfg.rcnn.sampler.num = 2000
    losses = dict(roi_logits=LOSSES, roi_boxes=dict(type='btkd_det.BoxLoss'))
    return distilled(student, teacher, str(folder / 'teacher.pth'), losses)


def gfl(folder, logits=LOSSES):
    student, teacher = tiny('GFL'), tiny('GFL')
    save(teacher, folder / 'teacher.pth')
    student.backbone.norm_eval = True
    losses = dict(dense_logits=logits, dense_boxes=dict(type='btkd_det.DistributionLoss'))
    return distilled_single(student, teacher, str(folder / 'teacher.pth'), losses)


def gfl_by_foreground(folder):
    """Divided by the anchors of objects, of which the ranks have unequally many, or none."""
    binary = dict(type='btkd_det.BinaryKDLoss', focus=1.0)
    losses = [binary, dict(LOSSES[1], loss=binary), dict(LOSSES[2], loss=binary), IKD]
    return gfl(folder, dict(losses=losses, average='foreground'))


def images(step):
    """The joined batch of a step."""
    count, _, empty = STEPS[step]
    batch = detection_batch([(128, 160)] * count, seed=step)
    for i in empty:
        batch['data_samples'][i].gt_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
    return batch


def train(config, rank=0, ranks=1):
    """What the steps log, their gradients, the mean over the ranks, and the buffers then."""
    model = build_detector(config).train()
    logs, gradients = [], []
    for step, (_, first, _) in enumerate(STEPS):
        MessageHub.get_current_instance().update_info('iter', 50 + step)
        batch = images(step)
        if ranks > 1:
            mine = slice(0, first) if rank == 0 else slice(first, None)
            batch = {key: value[mine] for key, value in batch.items()}
        losses = model(**model.data_preprocessor(copy.deepcopy(batch), training=True), mode='loss')
        terms = {k: v for k, v in losses.items() if k.startswith('distill.') and 'loss' in k}
        model.zero_grad()
        sum(terms.values()).backward()
        found = [p.grad for p in model.parameters() if p.grad is not None]
        logs.append(mean({name: value.detach() for name, value in terms.items()}, ranks))
        gradients.append(mean(dict(all=torch.cat([g.flatten() for g in found])), ranks)['all'])
    return logs, gradients, dict(model.named_buffers())


def mean(values, ranks):
    """As distributed training takes it of the gradients."""
    for value in values.values():
        if ranks > 1:
            distributed.all_reduce(value)
            value /= ranks
    return values


def process(rank, config, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    torch.save(train(config, rank, 2), f'{folder}/{rank}.pth')
    distributed.destroy_process_group()


@pytest.mark.parametrize('detector', [faster_rcnn, gfl, gfl_by_foreground])
def test_two_processes_are_one_on_the_joined_images(detector, tmp_path, progress):
    config = detector(tmp_path)
    # Forked, so that nobody imports all the packages again.
    multiprocessing.start_processes(process, (config, str(tmp_path)), nprocs=2, start_method='fork')
    found = [torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(2)]
    logs, gradients, buffers = train(config)
    assert any(value > 0 for key, value in logs[-1].items() if 'ikd' in key)
    for step in range(len(STEPS)):
        for name, value in logs[step].items():
            close(found[0][0][step][name], value, f'{step} {name}')
        close(found[0][1][step], gradients[step], f'gradients of step {step}')
    own = [name for name in buffers if name.startswith('distill.')]
    assert own
    for name in own:
        close(found[0][2][name], buffers[name], name)
        assert torch.equal(found[0][2][name], found[1][2][name]), name


def close(found, expected, what):
    scale = expected.abs().max().item()
    error = (found - expected).abs().max().item()
    assert error <= 2e-4 * scale + 1e-9, f'{what}: {error} of {scale}'
