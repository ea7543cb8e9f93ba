"""What distilling all anchors of a dense head costs, beside the head's own classification loss."""

import copy

import torch
from mmengine.registry import MODELS, DefaultScope

import btkd_det
from btkd_det.config.distilled_types import SINGLE_STAGE
from btkd_det.config.presets import PRESETS
from btkd_det.config.reading import read_config
from btkd_det.models import Teacher
from btkd_det.sites.base import Step
from btkd_det.sites.dense import DenseOutputs, DenseRecord, DenseRecorder
from btkd_det.sites.dense_boxes import DenseBoxes
from btkd_det.sites.dense_logits import DenseLogits

from .measure import alternate, clock_of, environment, on_threads, peak_memory, quartiles, summary
from .models import image_batch, image_size

HEADS = {
    'RetinaNet': 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    'ATSS': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'GFL': 'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
    'RTMDet': 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
}
OWN = 'own classification loss'
#: As the presets put them there.
LOGITS = {
    f'dense_logits: {label}': PRESETS[preset][SINGLE_STAGE]['dense_logits']
    for label, preset in {'KD': 'kd', 'btkd-paper': 'btkd-paper', 'btkd': 'btkd'}.items()
}
BOXES = {'dense_boxes: sides': dict(type='btkd_det.DistributionLoss')}
SITES = dict(dense_logits=DenseLogits, dense_boxes=DenseBoxes)
PROGRESS = 0.25
#: As the pipelines pad a picture of 800 x 1333, which RTMDet's neck needs.
SIZE = (800, 1344)


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--heads', nargs='+', choices=HEADS, default=list(HEADS))
    parser.add_argument('--size', type=image_size, default=SIZE, metavar='HxW')
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--threads', type=int, help='of PyTorch on the CPU')


def run(device='cpu', heads=tuple(HEADS), size=SIZE, rounds=15, threads=None, seed=0):
    """Time forward and backward of the losses at a dense head, on what the head gave one image.

    The head of a distilled detector runs once; what its own ``loss_cls`` was called with, and what
    the sites read, is kept. The backbone and the head's towers are narrow: they are not measured.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        heads (Iterable[str]): Of :data:`HEADS`.
        size (tuple[int, int]): Height and width of the image in pixels.
        rounds (int): Counted calls of each candidate.
        threads (int, optional): PyTorch's threads on the CPU; as they are by default.
        seed (int): Of weights, image and boxes.

    Returns:
        dict: ``setting``, ``environment``, and for each head the anchors, ``seconds``,
        ``ratio_to_own`` (the median over rounds), its quartiles, ``peak_bytes`` and
        ``peak_to_own`` of each candidate.
    """
    scope = DefaultScope.overwrite_default_scope('mmdet')
    with on_threads(threads), scope, btkd_det.set_progress(PROGRESS):
        results = [_of_head(name, size, device, rounds, seed) for name in heads]
        found, clock = environment(device), clock_of(device).__name__
    setting = dict(image=list(size), batch=1, classes=80, rounds=rounds, clock=clock, seed=seed)
    return dict(setting=setting, environment=found, heads=results)


def _of_head(name, size, device, rounds, seed):
    losses = {**LOGITS, **BOXES} if name == 'GFL' else LOGITS
    torch.manual_seed(seed)
    teacher = Teacher(narrow(name)).to(device)
    model = _distilled(name, teacher).to(device).train()
    data = model.data_preprocessor(image_batch(size, 1, seed), training=True)
    own, record, outputs = recorded(model, data)
    candidates = {OWN: _own(own)}
    for label, loss in losses.items():
        place = label.partition(':')[0]
        site = SITES[place](place, copy.deepcopy(loss)).to(device).train()
        candidates[label] = _at_site(site, record, outputs)
    seconds = alternate(candidates, rounds, device=device, clock=clock_of(device))
    ratios = {
        label: quartiles([a / b for a, b in zip(values, seconds[OWN], strict=True)])
        for label, values in seconds.items()
        if label != OWN
    }
    peaks = {label: peak_memory(run, device) for label, run in candidates.items()}
    return dict(
        head=name,
        anchors=len(record.labels),
        seconds={label: summary(values) for label, values in seconds.items()},
        ratio_to_own={label: values['median'] for label, values in ratios.items()},
        quartiles_of_ratio_to_own=ratios,
        peak_bytes=peaks,
        peak_to_own={label: round(peaks[label] / peaks[OWN], 3) for label in ratios},
    )


def narrow(name):
    """The config of a family's model, with COCO's classes and hardly any width.

    Args:
        name (str): A key of :data:`HEADS`.

    Returns:
        ConfigDict: Its ``model``.
    """
    model = read_config(HEADS[name], 'benchmark').model
    if name == 'RTMDet':
        model.backbone.update(deepen_factor=0.167, widen_factor=0.125, init_cfg=None)
        model.neck.update(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1)
        model.bbox_head.update(in_channels=16, feat_channels=16)
        model.data_preprocessor.pop('batch_augments', None)
        return model
    model.backbone.update(depth=18, base_channels=8, stem_channels=8, init_cfg=None)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
    model.bbox_head.update(in_channels=32, feat_channels=32, stacked_convs=1)
    return model


def _distilled(name, teacher):
    """What records a dense head; which loss stands there is of no matter."""
    config = dict(
        narrow(name),
        type='btkd_det.DistilledSingleStageDetector',
        teacher=teacher,
        distill=PRESETS['kd'][SINGLE_STAGE],
    )
    return MODELS.build(config)


def recorded(model, data):
    """One forward of a distilled detector, as its losses see it.

    Args:
        model (nn.Module): With sites at its dense head.
        data (dict): What its preprocessor gave.

    Returns:
        tuple[list, DenseRecord, DenseOutputs]: What ``loss_cls`` was called with, each time; the
        record; and what the teacher gave.
    """
    head, calls = model.bbox_head, []

    def note(module, args, kwargs, result):
        calls.append((module, args, kwargs))

    handle = head.loss_cls.register_forward_hook(note, with_kwargs=True)
    with DenseRecorder(model) as recorder:
        model.host_loss(data['inputs'], data['data_samples'])
        recorder.finish(data['data_samples'])
    handle.remove()
    step = Step(model.teacher, data['inputs'], data['data_samples'])
    with model.teacher.at_work(data['inputs'].device.type):
        step.features = model.teacher.features(step.inputs, step.samples)
        outputs = recorder.teacher_outputs(recorder.records[0], step)
    return calls, recorder.records[0], outputs


def _leaf(tensor):
    return tensor.detach().clone().requires_grad_()


def _own(calls):
    """The head's own loss again, of all levels, with the gradient of its logits."""
    leaves = [_leaf(args[0]) for _, args, _ in calls]

    def run(_):
        total = 0
        for leaf, (module, args, kwargs) in zip(leaves, calls, strict=True):
            leaf.grad = None
            total = total + module(leaf, *args[1:], **kwargs).sum()
        total.backward()

    return run


def _at_site(site, record, outputs):
    """The loss of a site, as in a step: its rows put together, the loss, the gradient."""
    logits = [_leaf(part) for part in record.level_logits]
    maps = tuple([_leaf(part) for part in kind] for kind in record.outputs)
    taught = tuple([part.detach() for part in kind] for kind in outputs.outputs)

    def run(_):
        for part in (*logits, *(part for kind in maps for part in kind)):
            part.grad = None
        seen = DenseRecord(
            record.head, maps, list(logits), record.level_labels, record.level_counted
        )
        given = DenseOutputs(outputs.teacher, taught)
        entries = site.evaluate(seen, given)
        sum(value for name, value in entries.items() if '.loss_' in name).backward()

    return run
