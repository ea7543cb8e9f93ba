"""Small classifiers, batches and data that the tests of classification share."""

import copy
import json

import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

NUM_CLASSES = 7
RGB = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 55.0, 50.0], to_rgb=False)


def tiny_resnet(width=8, num_classes=NUM_CLASSES, out_indices=(3,), **preprocessor):
    """Model config of MMPretrain's ResNet-18, narrow, for images of 32 x 32 pixels."""
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(
            type='mmpretrain.ResNet_CIFAR',
            depth=18,
            base_channels=width,
            stem_channels=width,
            out_indices=out_indices,
        ),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=num_classes, in_channels=8 * width),
        data_preprocessor=dict(
            type='mmpretrain.ClsDataPreprocessor', num_classes=num_classes, **(preprocessor or RGB)
        ),
    )


def distilled_resnet(teacher, sites, student=None, **keys):
    """The config of a distilled tiny ResNet."""
    student = copy.deepcopy(student or tiny_resnet())
    student.update(type='btkd_det.DistilledImageClassifier', teacher=teacher, distill=sites, **keys)
    return student


def build_classifier(cfg, seed=0):
    """Build a model config under a seed, its weights initialized and its logits not near 0."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(copy.deepcopy(cfg))
    model.init_weights()
    if hasattr(model.head, 'fc'):
        model.head.fc.weight.data.mul_(100)
    return model


def save_teacher(path, cfg, seed=7, classes=None):
    """Write a checkpoint of a random teacher; gives its path."""
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    state = build_classifier(cfg, seed).state_dict()
    torch.save(dict(meta=meta, state_dict=state), path)
    return str(path)


def image_batch(count=6, num_classes=NUM_CLASSES, seed=0):
    """Raw input of a ``data_preprocessor``: random images with their indices and labels."""
    from mmpretrain.structures import DataSample

    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    samples = [
        DataSample(metainfo=dict(sample_idx=i)).set_gt_label(labels[i]) for i in range(count)
    ]
    return dict(inputs=images, data_samples=samples)


def one_step(model, batch=None, seed=1):
    """Losses and gradients of one step in training mode, each by name."""
    model.train()
    model.zero_grad()
    torch.manual_seed(seed)
    data = model.data_preprocessor(batch or image_batch(), training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients


def set_progress(hub, share):
    """Tell the losses how far training is."""
    hub.update_info('iter', int(share * 100))
    hub.update_info('max_iters', 100)


def write_images(folder, classes=('cat', 'dog', 'hen'), per_class=4, seed=0):
    """Small PNGs in one folder for each class, brighter in the class's own channel."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = rng.integers(0, 160, (32, 32, 3), dtype=np.uint8)
            pixels[..., number % 3] += 90
            Image.fromarray(pixels).save(folder / name / f'{i}.png')


def read_json(path):
    return json.loads(path.read_text())
