"""Detectors of real shape, random images for them, and a training step on these."""

import argparse
import copy

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.structures import InstanceData

from btkd_det.config.reading import read_config
from btkd_det.optim import BFloat16OptimWrapper

BASE = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
#: MMEngine's names of the types that mixed precision computes in.
PRECISIONS = ('float16', 'bfloat16')


def image_size(text):
    """Height and width from ``'800x1333'``, or from one number.

    Args:
        text (str): Of a command line.

    Returns:
        tuple[int, int]: In pixels.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    parts = text.split('x')
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r}; valid: such as 800x1333, or 256')
    return int(parts[0]), int(parts[-1])


def detector(depth, classes=80):
    """A Faster R-CNN with FPN.

    Args:
        depth (int): Of its ResNet.
        classes (int): COCO's by default.

    Returns:
        ConfigDict: The ``model`` of a config.
    """
    model = read_config(BASE, 'benchmark').model
    model.backbone.update(depth=depth, init_cfg=None)
    model.roi_head.bbox_head.num_classes = classes
    if depth < 50:
        model.neck.in_channels = [64, 128, 256, 512]
    return model


def image_batch(size, batch, seed, classes=80):
    """Raw input of a detector's preprocessor: random pixels with eight boxes each.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        batch (int): Images.
        seed (int): Of pixels and boxes.
        classes (int): Of the boxes.

    Returns:
        dict: ``inputs`` and ``data_samples``.
    """
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for _ in range(batch):
        pixels = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        inputs.append(pixels)
        extents = torch.tensor([size[1], size[0]])
        corner = torch.rand(8, 2, generator=generator) * extents / 2
        extent = (0.1 + 0.4 * torch.rand(8, 2, generator=generator)) * extents
        sample = DetDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + extent], dim=1),
            labels=torch.randint(0, classes, (8,), generator=generator),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def training_step(model, data, seed, amp=None):
    """A step of a training: forward, backward, SGD.

    Args:
        model (nn.Module): A detector, or one that is wrapped for several processes.
        data (dict): What its preprocessor gave.
        seed (int): What the sampler draws under, with the number of the step added.
        amp (str, optional): Of :data:`PRECISIONS`.

    Returns:
        Callable[[int], None]: Takes the number of the step.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    wrapper = _wrapper(optimizer, data['inputs'].device.type, amp)

    def step(number):
        torch.manual_seed(seed + number)
        with wrapper.optim_context(model):
            losses = model(data['inputs'], copy.deepcopy(data['data_samples']), mode='loss')
        total, _ = getattr(model, 'module', model).parse_losses(losses)
        wrapper.update_params(total)

    return step


def _wrapper(optimizer, device, amp):
    if amp is None:
        return OptimWrapper(optimizer)
    if device == 'cpu':
        # MMEngine's refuses a CPU.
        return BFloat16OptimWrapper(optimizer)
    return AmpOptimWrapper(dtype=amp, optimizer=optimizer)
