"""How a distilled step grows: with images, RoIs, classes and processes."""

import copy
import math
import os
import statistics
import tempfile

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from scipy.stats import linregress
from torch import distributed, multiprocessing

import btkd_det
from btkd_det.config.distilled_types import TWO_STAGE
from btkd_det.config.presets import loss_of, robust
from btkd_det.models import Teacher

from .measure import alternate, clock_of, environment, summary
from .models import detector, image_batch, training_step

#: What grows, and how far; the others stay at the first value of each.
AXES = {
    'batch': (1, 2, 4, 8, 16, 32),
    'rois': (128, 256, 512, 1024, 2048),
    'classes': (20, 80, 320, 1203),
}
PROCESSES = (1, 2, 4)
SITES = {
    'plain': {},
    'roi_logits: KD': dict(roi_logits=loss_of('kd at rois')),
    'roi_logits: btkd': dict(roi_logits=robust('kd at rois', TWO_STAGE)),
}
PROGRESS = 0.25


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--size', type=int, default=128, help='of the images, in pixels')
    parser.add_argument('--axes', nargs='+', choices=AXES, default=list(AXES))
    parser.add_argument('--most', type=int, help='leave out larger values of all axes')
    parser.add_argument('--processes', type=int, nargs='*', default=PROCESSES, metavar='N')


def run(
    device='cpu',
    rounds=5,
    size=128,
    axes=tuple(AXES),
    most=None,
    processes=PROCESSES,
    seed=0,
):
    """Time plain and distilled steps of a Faster R-CNN R18-FPN along each axis.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``; processes are measured on a CPU alone.
        rounds (int): Counted steps of each model.
        size (int): Height and width of the images in pixels.
        axes (Iterable[str]): Of :data:`AXES`.
        most (int, optional): Values above it are left out.
        processes (Sequence[int]): Numbers of them.
        seed (int): Of weights, images and boxes.

    Returns:
        dict: ``setting``, ``environment``; for each axis the ``seconds``, and for each model the
        ``growth``: the slope of the logarithm of the median over that of the value, 1 where it is
        linear; ``added_growth``, that of what distillation adds; ``processes``, and
        ``all_reduced``, the bytes that distillation sends in a step.
    """
    torch.manual_seed(seed)
    along = {}
    with DefaultScope.overwrite_default_scope('mmdet'), btkd_det.set_progress(PROGRESS):
        for axis in axes:
            kept = [value for value in AXES[axis] if most is None or value <= most]
            values = kept or AXES[axis][:1]
            along[axis] = _along(axis, values, size, device, rounds, seed)
    found = dict(
        setting=dict(
            model='Faster R-CNN R18-FPN from another', image=size, rounds=rounds, seed=seed
        ),
        environment=environment(device),
        axes=along,
    )
    if device == 'cpu' and processes:
        by_count = {n: _processes(n, size, rounds, seed) for n in processes}
        found['processes'] = {n: measured['seconds'] for n, measured in by_count.items()}
        found['all_reduced'] = by_count[max(processes)]['all_reduced']
    return found


def _along(axis, values, size, device, rounds, seed):
    seconds = {}
    for value in values:
        setting = {name: steps[0] for name, steps in AXES.items()} | {axis: value}
        steps = _steps(size, device, seed, **setting)
        seconds[value] = alternate(steps, rounds, 1, device, clock_of(device))
    medians = {
        name: [statistics.median(measured[name]) for measured in seconds.values()] for name in SITES
    }
    added = {
        name: [a - b for a, b in zip(found, medians['plain'], strict=True)]
        for name, found in medians.items()
        if name != 'plain'
    }
    return dict(
        seconds={
            value: {name: summary(each) for name, each in measured.items()}
            for value, measured in seconds.items()
        },
        growth={name: growth(values, found) for name, found in medians.items()},
        added_growth={name: growth(values, found) for name, found in added.items()},
        ratio_to_plain={
            value: {
                name: round(found[i] / medians['plain'][i], 3) for name, found in medians.items()
            }
            for i, value in enumerate(values)
        },
    )


def growth(values, seconds):
    """The power of a value that a time grows with.

    Args:
        values (Sequence[float]): At least two.
        seconds (Sequence[float]): One for each.

    Returns:
        float | None: 1 where it is linear; ``None`` of fewer values, or where a time is not above
        0, as what is added can be that is nothing beside the noise.
    """
    if len(values) < 2 or min(seconds) <= 0:
        return None
    fitted = linregress([math.log(v) for v in values], [math.log(s) for s in seconds])
    return round(float(fitted.slope), 3)


def _steps(size, device, seed, wrap=lambda model: model, *, batch, rois, classes):
    """A step of each model, all of the same weights, on the same images."""
    torch.manual_seed(seed)
    guest = Teacher(_student(rois, classes)).to(device)
    plain = MODELS.build(_student(rois, classes))
    models = {}
    for name, sites in SITES.items():
        config = _student(rois, classes)
        if sites:
            config = dict(
                config,
                type='btkd_det.DistilledTwoStageDetector',
                teacher=guest,
                distill=copy.deepcopy(sites),
            )
        models[name] = MODELS.build(config).to(device).train()
        models[name].load_state_dict(plain.state_dict(), strict=False)
    images = image_batch((size, size), batch, seed, classes)
    data = models['plain'].data_preprocessor(images, training=True)
    return {name: training_step(wrap(model), data, seed) for name, model in models.items()}


def _student(rois, classes):
    model = detector(18, classes)
    model.train_cfg.rcnn.sampler.num = rois
    model.train_cfg.rpn_proposal.update(nms_pre=2 * rois, max_per_img=2 * rois)
    return model


def _processes(count, size, rounds, seed):
    """Steps of a training by several processes, each with an image."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (count, size, rounds, seed, folder)
        # Forked, so that nobody imports all the packages again; each has one thread.
        multiprocessing.start_processes(_of_process, arguments, count, start_method='fork')
        return torch.load(os.path.join(folder, 'found'), weights_only=True)


def _of_process(rank, count, size, rounds, seed, folder):
    torch.set_num_threads(1)
    file = os.path.join(folder, 'meet')
    distributed.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=count
    )
    first = {name: values[0] for name, values in AXES.items()}
    with DefaultScope.overwrite_default_scope('mmdet'), btkd_det.set_progress(PROGRESS):
        steps = _steps(size, 'cpu', seed + rank, MMDistributedDataParallel, **first)
        sent = {name: all_reduced(step) for name, step in steps.items()}
        seconds = alternate(steps, rounds, warmup=1)
    if rank == 0:
        found = dict(
            seconds={name: summary(values) for name, values in seconds.items()},
            all_reduced={name: value - sent['plain'] for name, value in sent.items()},
        )
        torch.save(found, os.path.join(folder, 'found'))
    distributed.destroy_process_group()


def all_reduced(step):
    """Bytes that one step gives to ``all_reduce``, those of the gradients excepted.

    Args:
        step (Callable[[int], None]): Called once.

    Returns:
        int: Of this process.
    """
    total, original = 0, distributed.all_reduce

    def counted(tensor, *args, **kwargs):
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return original(tensor, *args, **kwargs)

    distributed.all_reduce = counted
    try:
        step(0)
    finally:
        distributed.all_reduce = original
    return total
