"""What a teacher says of every image of the training data, gathered once."""

import copy

import torch
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import DefaultScope

from ..errors import ConfigError
from ..models.classifier import look
from ..teacher_cache import find_dataset, fixed_pipeline, view_settings


def gather(model, batches, shape, report=None):
    """Run the teacher of a distilled classifier over its training data.

    The images take the way that they take in training: through the student's preprocessor, and
    normalized for the teacher; batch augmentation excepted.

    Args:
        model (DistilledImageClassifier): With a running teacher, on its device.
        batches (Iterable[dict]): As MMEngine's data loaders give them, with ``sample_idx`` and,
            for several views, ``view`` in the data samples.
        shape (tuple[int, int, int]): (K, N, C): views, images, classes.
        report (Callable[[], None], optional): Called after each batch.

    Returns:
        Tensor: (K, N, C) float16, on the CPU.

    Raises:
        ConfigError: An image was not among the batches, or a logit is too large for float16.
    """
    guest = model.teacher
    logits = torch.zeros(shape, dtype=torch.float16)
    seen = torch.zeros(shape[:2], dtype=torch.bool)
    for batch in batches:
        data = model.data_preprocessor(batch, training=False)
        with guest.at_work(data['inputs'].device.type):
            said = look(guest, guest.images(data['inputs']), {'logits'})['logits'].cpu()
        images = torch.tensor([sample.get('sample_idx') for sample in data['data_samples']])
        views = torch.tensor([sample.get('view', 0) for sample in data['data_samples']])
        logits[views, images] = said.half()
        seen[views, images] = True
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


def training_batches(cfg):
    """The training images of a config without augmentation, or all of their fixed views.

    Args:
        cfg (Config): The whole config.

    Returns:
        tuple[Iterable[dict], int]: Batches of the config's own size, in order; how many.
    """
    from mmengine.runner import Runner

    memory = find_dataset(cfg)[1]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        if view_settings(memory) is not None:
            return _views(cfg, memory)
        loader = Runner.build_dataloader(_plain_loader(cfg))
    return loader, len(loader)


def _views(cfg, memory):
    with MMENGINE_DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        images = registry.build(copy.deepcopy(memory))
    rows = torch.arange(len(images)).split(cfg.train_dataloader.get('batch_size') or 64)
    batches = (images.get_view(part, view) for view in range(images.views) for part in rows)
    return batches, images.views * len(rows)


def _plain_loader(cfg):
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
