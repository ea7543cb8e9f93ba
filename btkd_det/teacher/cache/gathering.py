"""A teacher's logits of every image of the training data, gathered once."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import DefaultScope
from torch import Tensor
from torch.utils.data import Subset

from ...errors import ConfigError
from ..images import run_teacher
from .data import find_dataset, fixed_pipeline, view_settings


def gather(
    model: Any,
    batches: Iterable[dict[str, Any]],
    shape: tuple[int, int, int],
    report: Callable[[], None] | None = None,
    unfinished: Any = None,
) -> Tensor:
    """Run the teacher of a distilled classifier over its training data.

    The images take the way that they take in training: through the student's preprocessor, and
    normalized for the teacher; batch augmentation excepted.

    Args:
        model (DistilledImageClassifier): With a running teacher, on its device.
        batches (Iterable[dict]): As MMEngine's data loaders give them, with ``sample_idx`` and,
            for several views, ``view`` in the data samples.
        shape (tuple[int, int, int]): (K, N, C): views, images, classes.
        report (Callable[[], None], optional): Called after each batch.
        unfinished (UnfinishedCache, optional): What an interrupted run left; ``batches`` are
            those that follow, and what they give is kept there.

    Returns:
        Tensor: (K, N, C) float16, on the CPU.

    Raises:
        ConfigError: An image was not among the batches, or a logit is too large for float16.
    """
    teacher = model.teacher
    logits = torch.zeros(shape, dtype=torch.float16) if unfinished is None else unfinished.logits
    seen = torch.zeros(shape[:2], dtype=torch.bool)
    if unfinished is not None:
        seen.view(-1)[: unfinished.done] = True
    for batch in batches:
        data = model.data_preprocessor(batch, training=False)
        with teacher.at_work(data['inputs'].device.type):
            outputs = run_teacher(teacher, teacher.images(data['inputs']), ('logits',))
        images = torch.tensor([sample.get('sample_idx') for sample in data['data_samples']])
        views = torch.tensor([sample.get('view', 0) for sample in data['data_samples']])
        logits[views, images] = outputs.logits.cpu().half()
        seen[views, images] = True
        if unfinished is not None:
            unfinished.mark(_leading(seen))
        if report is not None:
            report()
    if not seen.all():
        raise ConfigError(
            f'train_dataloader.dataset: {int((~seen).sum())} of {seen.numel()} images did not come '
            'by; valid is a data set that gives each image once'
        )
    if not logits.isfinite().all():
        raise ConfigError('teacher: gives logits that are not finite in float16')
    return logits


def _leading(seen: Any) -> int:
    """How many rows are there without a gap."""
    return int(seen.view(-1).long().cumprod(dim=0).sum())


def training_batches(cfg: Config, start: int = 0) -> tuple[Iterable[dict[str, Any]], int]:
    """The training images of a config without augmentation, or all of their fixed views.

    Args:
        cfg (Config): The whole config.
        start (int): Rows to leave out, counted view by view, image by image.

    Returns:
        tuple[Iterable[dict], int]: Batches of the config's own size, in order; how many.
    """
    from mmengine.runner import Runner

    memory = find_dataset(cfg)[1]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        if view_settings(memory) is not None:
            return _views(cfg, memory, start)
        loader = _plain_loader(cfg)
        if start:
            with MMENGINE_DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
                dataset = registry.build(loader['dataset'])
            loader['dataset'] = Subset(dataset, range(start, len(dataset)))
        loader = Runner.build_dataloader(loader)
    return loader, len(loader)


def _views(cfg: Config, memory: Any, start: Any) -> tuple:
    with MMENGINE_DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        images = registry.build(copy.deepcopy(memory))
    size = cfg.train_dataloader.get('batch_size') or 64
    parts = []
    for view in range(images.views):
        first = min(max(start - view * len(images), 0), len(images))
        rows = torch.arange(first, len(images)).split(size)
        parts += [(part, view) for part in rows if len(part)]
    return (images.get_view(*part) for part in parts), len(parts)


def _plain_loader(cfg: Config) -> Any:
    """The config's training loader, over the data set itself, in order and without chance."""
    inner, memory = find_dataset(cfg)
    dataset = copy.deepcopy(inner)
    if memory is None:
        dataset['pipeline'] = copy.deepcopy(fixed_pipeline(cfg))
    else:
        dataset = copy.deepcopy(memory)
        dataset.update(crop_padding=0, flip=0.0)
    loader = copy.deepcopy(cfg.train_dataloader)
    loader.update(dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    for key in ('batch_sampler', 'drop_last', 'persistent_workers'):
        loader.pop(key, None)
    return loader
