"""What a distilled training step costs, against the plain step and the teacher's forward."""

import copy
import statistics
from importlib import metadata

import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from btkd_det.config.reading import read_config
from btkd_det.models import Teacher

from . import mmrazor_peer
from .measure import alternate, environment, summary

BASE = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=KD)
PKD = dict(type='btkd_det.PKDLoss')
REVIEWKD = dict(type='btkd_det.ReviewKDLoss')

DISTILLATIONS = {
    'roi_logits: KD': dict(roi_logits=KD),
    'roi_logits: BTKD around KD': dict(roi_logits=BTKD),
    'fpn: PKD': dict(fpn=PKD),
    'fpn: ReviewKD': dict(fpn=REVIEWKD),
    'roi_logits: BTKD around KD, fpn: PKD': dict(roi_logits=BTKD, fpn=PKD),
}
# MMRazor's step, and the one of ours that does the same.
MMRAZOR, COUNTERPART = "MMRazor's PKD on the maps of the neck", 'fpn: PKD'


def run(student=18, teacher=101, size=256, batch=1, rounds=10, device='cpu', seed=0):
    """Time training steps (forward, backward, SGD) of Faster R-CNN with FPN, COCO's classes.

    The floor of a distilled step is the plain step plus the teacher's backbone and neck, and its
    RoI head on the same RoIs where a site is there. The RoIs are the same in all candidates of a
    round: the sampler draws under the same seed. Where MMRazor is installed, its PKD takes turns
    with ours: the same student, teacher, maps and loss.

    Args:
        student (int): Depth of the student's ResNet.
        teacher (int): Depth of the teacher's ResNet.
        size (int): Height and width of the images in pixels.
        batch (int): Images in a batch.
        rounds (int): Counted steps of each candidate.
        device (str): ``'cpu'`` or ``'cuda'``.
        seed (int): Of weights, images and boxes.

    Returns:
        dict: ``setting``, ``environment``, ``seconds`` (minimum, median, maximum of each
        candidate) and ``ratio_to_floor`` (of medians) of each distillation; ``mmrazor``, its
        version or why it was not measured, and ``ratio_to_mmrazor``, of the medians of our PKD
        and its.
    """
    no_mmrazor = mmrazor_peer.unavailable()
    hub = MessageHub.get_instance('benchmark')
    hub.update_info('iter', 1)
    hub.update_info('max_iters', 2)
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(seed)
        plain = MODELS.build(_model(student)).to(device).train()
        guest = Teacher(_model(teacher)).to(device)
        distilled = {
            name: _distilled(student, guest, sites, plain).to(device).train()
            for name, sites in DISTILLATIONS.items()
        }
        peers = {} if no_mmrazor else {MMRAZOR: _mmrazor(student, guest, plain).to(device)}
    data = plain.data_preprocessor(_batch(size, batch, seed), training=True)
    rois = _sampled_rois(plain, data, seed)
    candidates = {
        'plain step': _step(plain, data, seed),
        "teacher's backbone and neck": lambda _: _teacher_forward(guest, data, None),
        "teacher's backbone, neck and RoI head": lambda _: _teacher_forward(guest, data, rois),
        **{name: _step(model, data, seed) for name, model in {**distilled, **peers}.items()},
    }
    seconds = alternate(candidates, rounds, device=device)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    floor = {
        name: median['plain step']
        + median[
            "teacher's backbone, neck and RoI head"
            if 'roi_logits' in sites
            else "teacher's backbone and neck"
        ]
        for name, sites in DISTILLATIONS.items()
    }
    return dict(
        setting=dict(
            student=f'Faster R-CNN R{student}-FPN',
            teacher=f'Faster R-CNN R{teacher}-FPN',
            image=size,
            batch=batch,
            rois=len(rois),
            rounds=rounds,
            seed=seed,
        ),
        environment=environment(device),
        seconds={name: summary(values) for name, values in seconds.items()},
        ratio_to_floor={name: round(median[name] / floor[name], 4) for name in distilled},
        **_against_mmrazor(no_mmrazor, median),
    )


def _against_mmrazor(no_mmrazor, median):
    if no_mmrazor:
        return dict(mmrazor=no_mmrazor)
    return dict(
        mmrazor=metadata.version('mmrazor'),
        ratio_to_mmrazor=round(median[COUNTERPART] / median[MMRAZOR], 4),
    )


def _model(depth):
    model = read_config(BASE, 'benchmark').model
    model.backbone.update(depth=depth, init_cfg=None)
    if depth < 50:
        model.neck.in_channels = [64, 128, 256, 512]
    return model


def _distilled(depth, guest, sites, plain):
    model = MODELS.build(
        dict(
            _model(depth),
            type='btkd_det.DistilledTwoStageDetector',
            teacher=guest,
            distill=copy.deepcopy(sites),
        )
    )
    model.load_state_dict(plain.state_dict(), strict=False)
    return model


def _mmrazor(depth, guest, plain):
    student = MODELS.build(_model(depth))
    student.load_state_dict(plain.state_dict())
    # A copy: MMRazor switches off what the teacher does in place, which costs ours time.
    model = mmrazor_peer.pkd(student, copy.deepcopy(guest.model))
    model.train()  # returns nothing in MMRazor
    return model


def _batch(size, batch, seed):
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for _ in range(batch):
        pixels = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
        inputs.append(pixels)
        corner = torch.rand(8, 2, generator=generator) * size / 2
        extent = (0.1 + 0.4 * torch.rand(8, 2, generator=generator)) * size
        sample = DetDataSample(
            metainfo=dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + extent], dim=1),
            labels=torch.randint(0, 80, (8,), generator=generator),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def _step(model, data, seed):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step(number):
        torch.manual_seed(seed + number)
        losses = model(data['inputs'], copy.deepcopy(data['data_samples']), mode='loss')
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step


def _sampled_rois(model, data, seed):
    """The RoIs of the sampler, as many as in every other step."""
    seen = []
    handle = model.roi_head.bbox_roi_extractor.register_forward_hook(
        lambda module, args, result: seen.append(args[1].detach())
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        model(data['inputs'], copy.deepcopy(data['data_samples']), mode='loss')
    handle.remove()
    return seen[0]


@torch.no_grad()
def _teacher_forward(guest, data, rois):
    features = guest.model.extract_feat(data['inputs'])
    if rois is not None:
        guest.model.roi_head._bbox_forward(features, rois)
