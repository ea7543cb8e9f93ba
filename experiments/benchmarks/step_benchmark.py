"""What a distilled training step costs, against the plain step and the teacher's forward."""

import contextlib
import copy
import functools
import statistics
from importlib import metadata

import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope

from btkd_det.models import Teacher

from . import mmrazor_peer
from .measure import allocated, alternate, environment, peak_memory, summary
from .models import PRECISIONS, detector, image_batch, image_size, training_step

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


def add_arguments(parser):
    """Give an argument parser what :func:`run` takes.

    Args:
        parser (argparse.ArgumentParser): Of the command.
    """
    parser.add_argument('--student', type=int, default=18, help="depth of the student's ResNet")
    parser.add_argument('--teacher', type=int, default=101, help="depth of the teacher's ResNet")
    parser.add_argument(
        '--size', type=image_size, default=(256, 256), metavar='HxW', help='of the images'
    )
    parser.add_argument('--batch', type=int, default=1, help='images in a batch')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--amp', choices=PRECISIONS, help='mixed precision, of all')
    parser.add_argument('--rounds', type=int, default=10)


def run(
    student=18,
    teacher=101,
    size=(256, 256),
    batch=1,
    rounds=10,
    device='cpu',
    amp=None,
    seed=0,
):
    """Time training steps (forward, backward, SGD) of Faster R-CNN with FPN, COCO's classes.

    The floor of a distilled step is the plain step plus the teacher's backbone and neck, and its
    RoI head on the same RoIs where a site is there. The RoIs are the same in all candidates of a
    round: the sampler draws under the same seed. Where MMRazor is installed, its PKD takes turns
    with ours: the same student, teacher, maps and loss.

    Args:
        student (int): Depth of the student's ResNet.
        teacher (int): Depth of the teacher's ResNet.
        size (tuple[int, int]): Height and width of the images in pixels.
        batch (int): Images in a batch.
        rounds (int): Counted steps of each candidate.
        device (str): ``'cpu'`` or ``'cuda'``.
        amp (str, optional): ``'float16'`` or ``'bfloat16'``: mixed precision, as MMEngine's
            ``AmpOptimWrapper`` has it, of every candidate.
        seed (int): Of weights, images and boxes.

    Returns:
        dict: ``setting``, ``environment``, ``seconds`` (minimum, median, maximum of each
        candidate) and ``ratio_to_floor`` (of medians) of each distillation; ``memory``, see
        :func:`_memory`; ``mmrazor``, its version or why it was not measured, and
        ``ratio_to_mmrazor``, of the medians of our PKD and its.
    """
    no_mmrazor = mmrazor_peer.unavailable()
    hub = MessageHub.get_instance('benchmark')
    hub.update_info('iter', 1)
    hub.update_info('max_iters', 2)
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(seed)
        plain = MODELS.build(detector(student)).to(device).train()
        guest = Teacher(detector(teacher)).to(device)
        distilled = {
            name: _distilled(student, guest, sites, plain).to(device).train()
            for name, sites in DISTILLATIONS.items()
        }
        peers = {} if no_mmrazor else {MMRAZOR: _mmrazor(student, guest, plain).to(device)}
    data = plain.data_preprocessor(image_batch(size, batch, seed), training=True)
    rois = _sampled_rois(plain, data, seed)
    forward = functools.partial(_teacher_forward, guest, data, amp=amp)
    steps = {
        'plain step': training_step(plain, data, seed, amp),
        **{
            name: training_step(model, data, seed, amp)
            for name, model in {**distilled, **peers}.items()
        },
    }
    candidates = {
        "teacher's backbone and neck": lambda _: forward(None),
        "teacher's backbone, neck and RoI head": lambda _: forward(rois),
        **steps,
    }
    seconds = alternate(candidates, rounds, device=device)
    peaks = {name: peak_memory(step, device) for name, step in steps.items()}
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
            image=list(size),
            batch=batch,
            amp=amp,
            rois=len(rois),
            rounds=rounds,
            seed=seed,
        ),
        environment=environment(device),
        seconds={name: summary(values) for name, values in seconds.items()},
        ratio_to_floor={name: round(median[name] / floor[name], 4) for name in distilled},
        memory=_memory(plain, guest, data, peaks, amp),
        **_against_mmrazor(no_mmrazor, median),
    )


def _memory(plain, guest, data, peaks, amp):
    """Peak memory of each step, against its floor.

    The floor is what the plain training holds at its peak (weights, momentum, and what the step
    allocates), the teacher's weights, and the largest of the teacher's maps.

    Returns:
        dict: ``floor_bytes``, its three parts, and ``peak_bytes`` and ``peak_to_floor`` of each
        distilled step. MMRazor's is left out of the floor, as it has a teacher of its own.
    """
    held = 2 * allocated(plain)
    maps = _teacher_forward(guest, data, None, amp)
    largest = max(part.numel() * part.element_size() for part in maps)
    parts = dict(
        plain_training=held + peaks['plain step'],
        teacher_weights=allocated(guest.model),
        largest_map=largest,
    )
    floor = sum(parts.values())
    peaks = {
        name: held + parts['teacher_weights'] + peak
        for name, peak in peaks.items()
        if name != 'plain step'
    }
    return dict(
        floor_bytes=floor,
        parts=parts,
        peak_bytes=peaks,
        peak_to_floor={name: round(peak / floor, 4) for name, peak in peaks.items()},
    )


def _against_mmrazor(no_mmrazor, median):
    if no_mmrazor:
        return dict(mmrazor=no_mmrazor)
    return dict(
        mmrazor=metadata.version('mmrazor'),
        ratio_to_mmrazor=round(median[COUNTERPART] / median[MMRAZOR], 4),
    )


def _distilled(depth, guest, sites, plain):
    model = MODELS.build(
        dict(
            detector(depth),
            type='btkd_det.DistilledTwoStageDetector',
            teacher=guest,
            distill=copy.deepcopy(sites),
        )
    )
    model.load_state_dict(plain.state_dict(), strict=False)
    return model


def _mmrazor(depth, guest, plain):
    student = MODELS.build(detector(depth))
    student.load_state_dict(plain.state_dict())
    # A copy: MMRazor switches off what the teacher does in place, which costs ours time.
    model = mmrazor_peer.pkd(student, copy.deepcopy(guest.model))
    model.train()  # returns nothing in MMRazor
    return model


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
def _teacher_forward(guest, data, rois, amp=None):
    precision = contextlib.nullcontext()
    if amp is not None:
        precision = torch.autocast(data['inputs'].device.type, getattr(torch, amp))
    with precision:
        features = guest.model.extract_feat(data['inputs'])
        if rois is not None:
            guest.model.roi_head._bbox_forward(features, rois)
    return features
